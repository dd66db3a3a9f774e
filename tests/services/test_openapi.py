"""services/*/openapi.json: what other programs are generated from"""

from tests.services.make_openapi import texts


def test_the_documents_are_those_of_the_apps() -> None:
    """The documents that are checked in describe the services as they are. `make openapi` writes them again."""
    old = [path.name for path, text in texts().items() if not path.is_file() or path.read_text("utf-8") != text]
    assert old == [], "Run make openapi."
