"""Log records that people and programs can read: a sentence, with the same facts as fields of the record.

A program reads `event`, the stable name of what happened, and the other fields. Both are in `extra`, where a formatter
for JSON finds them. The message alone tells a person what happened, in any format: `logging.basicConfig` is enough.
"""

import logging


def log_event(
    log: logging.Logger,
    level: int,
    event: str,
    message: str,
    *,
    exc_info: BaseException | bool | None = None,
    **facts: object,
) -> None:
    """Write `message` to `log`, with the fields `event` and `facts`.

    The message may quote what another party sent: whatever does not print is escaped, so that a record stays one line.
    """
    if log.isEnabledFor(level):
        log.log(level, one_line(message), extra={"event": event, **facts}, exc_info=exc_info, stacklevel=2)


def one_line(text: str) -> str:
    r"""Return `text` with each character that does not print escaped as in Python: a line break becomes `\n`."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
