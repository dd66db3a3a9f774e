"""The names that OpenTelemetry's instrumentations use."""

import pytest
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability


def use_new_conventions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the instrumentations use the names that `services.common.telemetry.configure` chooses.

    A process chooses once, when it first needs a name. An earlier test may have chosen.
    """
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    monkeypatch.setattr(_OpenTelemetrySemanticConventionStability, "_initialized", False)
