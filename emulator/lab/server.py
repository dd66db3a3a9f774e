"""The lab's server, in a thread of the runner: only the runner can start and end the processes of the shop."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

import uvicorn

from emulator.lab.app import create_lab
from emulator.lab.pages import Lab
from emulator.run.errors import PortTaken
from emulator.run.ports import HOST
from mstoken.emulator.server import PortInUse, listening

GRACE_SECONDS = 2
"""How long open requests may take when the lab ends. Streams of events end at once, with the journal."""


@contextlib.contextmanager
def running(lab: Lab, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Serve the lab on 127.0.0.1 until the block ends. Raises LabRefused and PortTaken.

    Connections are accepted as soon as the block begins.
    """
    app = create_lab(lab, environment)
    try:
        socket = listening(lab.stack.ports.lab)
    except PortInUse as error:
        raise PortTaken(str(error)) from error
    with socket:
        config = uvicorn.Config(
            app, host=HOST, http="h11", ws="none", log_level="critical", timeout_graceful_shutdown=GRACE_SECONDS
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([socket],), name="lab")
        thread.start()
        try:
            yield
        finally:
            # Requests that wait for the main thread would wait until the end of the grace.
            lab.supervisor.refuse_calls()
            lab.journal.close()
            server.should_exit = True
            thread.join()
