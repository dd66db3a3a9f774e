"""The health check of the image: ask the service in this container for /healthz, with nothing but Python.

PORT names the port. Exit status 0: it answered 200. 1: it did not, and stderr says why.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 3.0


def problem(port: int) -> str | None:
    """Return why the service on this machine's port is not healthy, or None if it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"/healthz on port {port} was not answered ({type(error).__name__})"
    finally:
        connection.close()
    return None if status == http.client.OK else f"/healthz on port {port} was answered with {status}"


def main() -> int:
    """Check the port that PORT names. Return the exit status."""
    port = os.environ.get("PORT", "")
    if not port.isdecimal():
        sys.stderr.write(f"PORT is {port!r}: it must be the port that the service listens on.\n")
        return 1
    found = problem(int(port))
    if found is None:
        return 0
    sys.stderr.write(f"{found}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
