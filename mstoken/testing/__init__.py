"""Tests without a network: a Firebase project in memory. pytest finds the fixtures of `plugin` itself."""

from typing import TYPE_CHECKING

from mstoken.lazy_exports import lazily

if TYPE_CHECKING:
    from mstoken.testing.fake_firebase import FakeFirebase
    from mstoken.testing.project import FirebaseProject
else:
    __getattr__ = lazily(
        __name__,
        {"FakeFirebase": "mstoken.testing.fake_firebase", "FirebaseProject": "mstoken.testing.project"},
        {"FakeFirebase": "testing", "FirebaseProject": "testing"},
    )

__all__ = ["FakeFirebase", "FirebaseProject"]
