"""Lines of logs, and the records in them."""

import pytest

from emulator.run.log_records import record_in


@pytest.mark.parametrize("prefix", ["", ">  "], ids=["service", "function"])
def test_a_line_of_a_service_or_a_function_is_a_record(prefix: str) -> None:
    """A record is a JSON object, with what the functions emulator writes before it or without."""
    assert record_in(f'{prefix}{{"event": "call"}}') == {"event": "call"}


@pytest.mark.parametrize(
    "line",
    ["", "Traceback:", "[1]", "7", '{"event": "call"', "[" * 100_000],
    ids=["empty", "text", "list", "number", "cut", "deep"],
)
def test_other_lines_have_no_record(line: str) -> None:
    """Lines that are not JSON objects are skipped, whatever they are."""
    assert record_in(line) is None
