"""The checks of a callee, in their order, and which of them gave a certain answer."""

from dataclasses import dataclass

from emulator.attacks.wire import Answer


@dataclass(frozen=True)
class Check:
    """A check: its number in the order of docs/threat-model.md, and what it asks."""

    number: int
    name: str
    question: str


HTTP_SERVER = Check(0, "HTTP", "Is the request well-formed HTTP?")
FORM = Check(1, "form", "Is there exactly one token, in a form that can be read in one way only?")
SIGNATURE = Check(2, "signature", "Is it an ID token of this project, with a valid signature, and alive by its times?")
SERVICE_TOKEN = Check(3, "service token", "Did a service identity sign in, and does the ms claim say so?")
AUDIENCE = Check(4, "audience", "Was it made for this service?")
IDENTITY = Check(5, "identity", "Is the identity neither disabled nor revoked?")
FRESHNESS = Check(6, "age and proof", "Is it young enough, or does a new proof come with it, for exactly this call?")
ADMISSION = Check(7, "admission", "May this caller make this call?")
SPEND = Check(8, "spend", "Is this the first use?")
CHECKS = (HTTP_SERVER, FORM, SIGNATURE, SERVICE_TOKEN, AUDIENCE, IDENTITY, FRESHNESS, ADMISSION, SPEND)
"""All checks, in the order in which they are made."""

_BY_CODE = {
    "token_missing": FORM,
    "token_malformed": FORM,
    "token_untrusted": SIGNATURE,
    "token_expired": SIGNATURE,
    "token_not_service": SERVICE_TOKEN,
    "token_wrong_audience": AUDIENCE,
    "identity_disabled": IDENTITY,
    "user_token_revoked": IDENTITY,
    "token_stale": FRESHNESS,
    "proof_missing": FRESHNESS,
    "proof_invalid": FRESHNESS,
    "use_dpop_nonce": FRESHNESS,
    "caller_not_allowed": ADMISSION,
    "token_replayed": SPEND,
    "proof_replayed": SPEND,
    "user_token_missing": FORM,
    "user_token_invalid": FORM,
}
_BY_DETAIL = {
    ("token_untrusted", "The token was minted in the future"): FRESHNESS,
    ("token_expired", "The token is "): FRESHNESS,
    ("user_token_invalid", "The token cannot be trusted"): SIGNATURE,
    ("user_token_invalid", "The token has expired"): SIGNATURE,
    ("user_token_invalid", "The token is that of a service"): SERVICE_TOKEN,
}
"""Two checks can give these codes: the beginning of the detail tells which of them did."""


def check_of(answer: Answer) -> Check | None:
    """Return the check that refused a call, or None if the call was not refused by one: accepted, or not decided."""
    for (code, beginning), check in _BY_DETAIL.items():
        if answer.code == code and answer.detail.startswith(beginning):
            return check
    if answer.code in _BY_CODE:
        return _BY_CODE[answer.code]
    return HTTP_SERVER if answer.status == 400 and not answer.code else None
