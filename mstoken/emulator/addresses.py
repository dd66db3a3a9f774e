"""Where the local emulators listen, and the variables that make a process use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mstoken.settings import AUTH_EMULATOR_VARIABLE

HOST = "127.0.0.1"
"""The only address that the emulators listen at: they give an identity to everyone who asks."""
SIGNED_AUTH_PORT = 9100
FUNCTIONS_VARIABLE = "SIGNED_AUTH_EMULATOR_HOST"
"""Tells functions where the signed Auth emulator is: the functions emulator sets the usual variable to the raw one."""
METADATA_VARIABLES = ("GCE_METADATA_HOST", "GCE_METADATA_IP")
"""Where google-auth looks for the metadata server: it reads one of them for requests and the other to find a server."""


@dataclass(frozen=True)
class LocalEmulators:
    """The emulators for one project.

    `upstream` is the host:port of the Auth emulator of the Firebase Emulator Suite. The signed Auth emulator listens on
    `port`. `services` maps the name of each service that needs a metadata server to its port.
    """

    project: str
    upstream: str
    port: int = SIGNED_AUTH_PORT
    services: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def environment(self, service: str | None = None) -> dict[str, str]:
        """Return the variables that make a process use the emulators: as `service`, if it has a metadata server."""
        variables = {AUTH_EMULATOR_VARIABLE: f"{HOST}:{self.port}", "GOOGLE_CLOUD_PROJECT": self.project}
        if service is not None:
            variables |= dict.fromkeys(METADATA_VARIABLES, f"{HOST}:{self.services[service]}")
        return variables
