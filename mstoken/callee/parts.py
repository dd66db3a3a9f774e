"""The parts of a verifier: what it works with, as its settings say."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from mstoken.callee.firebase import AdminFirebase, Firebase
from mstoken.callee.id_tokens import IdTokenVerifier
from mstoken.callee.nonces import Nonces
from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.store import ReplayStore
from mstoken.callee.shared_status import status_store
from mstoken.callee.status import StatusCache
from mstoken.errors import VerifierUnavailable
from mstoken.proof import ProofVerifier
from mstoken.settings import Settings


@dataclass(frozen=True, slots=True)
class VerifierParts:
    """What a verifier works with. `TokenVerifier` says what each of its methods promises."""

    base_url: str | None
    require_proof: bool
    nonces: Nonces | None
    firebase: Firebase
    replay: ReplayStore
    id_tokens: IdTokenVerifier
    status: StatusCache
    proofs: ProofVerifier

    @classmethod
    def of(
        cls,
        audience: str,
        settings: Settings,
        firebase: Firebase | None,
        replay: ReplayStore | None,
        clock: Callable[[], float],
    ) -> Self:
        """Return new parts. Raises `SettingsError` for wrong settings."""
        secret = settings.nonce_secret
        # Another Firebase, such as that of a test, has identities of its own.
        shared = status_store(settings) if firebase is None else None
        firebase = firebase or AdminFirebase(settings)
        return cls(
            base_url=settings.base_url,
            require_proof=settings.require_proof,
            nonces=Nonces(secret.get_secret_value(), audience) if secret else None,
            firebase=firebase,
            replay=replay or replay_store(settings, audience),
            id_tokens=IdTokenVerifier(firebase, clock),
            status=StatusCache(firebase, shared=shared),
            proofs=ProofVerifier(),
        )

    async def open(self) -> None:
        """Start the background work, and begin the memory of a new replay store."""
        await self.firebase.open()
        await self.status.open()
        with suppress(VerifierUnavailable):
            await self.replay.ready()

    async def aclose(self) -> None:
        """End the background work, and close the replay store."""
        await self.status.aclose()
        await self.firebase.aclose()
        await self.replay.aclose()

    async def ready(self) -> list[str]:
        """Check that tokens can be verified now. Return warnings. Raises `VerifierUnavailable`."""
        certificates_warning = self.firebase.ready()
        replay_warning = await self.replay.ready()
        warnings = {
            "Certificates": certificates_warning,
            "Identity status": self.status.last_error,
            "Shared identity status": self.status.sharing_error,
            "Replay store": replay_warning,
        }
        return [f"{part}: {warning}" for part, warning in warnings.items() if warning]
