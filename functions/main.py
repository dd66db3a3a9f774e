"""The shop's Firebase functions: so far `health`, which says that the functions runtime is up and what it runs."""

import json
import os
import platform

from firebase_functions import https_fn
from flask import Request, Response


@https_fn.on_request()
def health(request: Request) -> Response:
    """Any request -> 200, JSON: status "ok", the project's id, the runtime's version ("python 3.11.7")."""
    answer = {
        "status": "ok",
        "project": os.environ["GCLOUD_PROJECT"],
        "runtime": f"python {platform.python_version()}",
    }
    return Response(json.dumps(answer), mimetype="application/json")
