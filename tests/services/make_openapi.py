"""Writes services/*/openapi.json, from which the storefront generates its types.

    make openapi

It needs no network and no database: the apps are made and not started.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mstoken.testing import FakeFirebase
from services.billing.app import create_app as create_billing
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.product.app import create_app as create_product
from services.product.settings import ProductSettings
from services.user.app import create_app as create_user
from services.user.settings import UserSettings
from tests.services.billing.fakes import FakeQueue
from tests.services.user.fakes import SETTINGS, FakeProject

SERVICES = Path(__file__).parents[2] / "services"
DATABASE_URL = "sqlite:///unused.db"


def documents() -> dict[str, dict[str, Any]]:
    """Return the OpenAPI document of each service."""
    firebase = FakeFirebase(base_url="http://service")
    billing = BillingSettings(database_url=DATABASE_URL)
    apps = {
        "user": create_user(
            UserSettings(database_url=DATABASE_URL),
            firebase=SETTINGS,
            verifier=firebase.verifier("user"),
            sessions=FakeProject(firebase),
        ),
        "product": create_product(ProductSettings(database_url=DATABASE_URL), verifier=firebase.verifier("product")),
        "billing": create_billing(
            billing,
            verifier=firebase.verifier("billing"),
            neighbours=Neighbours(billing, firebase.identity("billing")),
            queue=FakeQueue(),
        ),
    }
    return {name: app.openapi() for name, app in apps.items()}


def texts() -> dict[Path, str]:
    """Return what each openapi.json must contain."""
    return {
        SERVICES / name / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents().items()
    }


def main() -> int:
    """Write the files."""
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
