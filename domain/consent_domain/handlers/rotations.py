"""The key that signs checkpoints gives way to another."""

from __future__ import annotations

from consent_domain.commands import RotateKey
from consent_domain.errors import ConsentError, Refused
from consent_domain.events import LOG_STREAM, KeyRotated
from consent_domain.handlers.checks import instant_of
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.instants import moment_of
from consent_domain.notes import SIGNS_NOTES, KeyText, parse_key
from consent_domain.state import State


def rotate(state: State, command: RotateKey, context: Context) -> Verdict:
    """Both keys are valid until the overlap ends, only the new one after it."""
    old, new = _key(command.old_key, "oldKey"), _key(command.new_key, "newKey")
    if old.name != new.name:
        raise Refused("invalid_value", f"the keys are of two logs, {old.name} and {new.name}")
    if old.public == new.public:
        raise Refused("invalid_value", "the new key is the old one")
    until = instant_of(command.overlap_until, "overlapUntil")
    if until <= context.now:
        raise Refused("invalid_value", "overlapUntil must lie ahead: readers need time to learn the new key")
    body = KeyRotated(
        old_key=str(old), new_key=str(new), overlap_until=moment_of(until), **spoken(command, context)
    )
    return verdict(context, [(LOG_STREAM, body)], {"newKey": str(new)})


def _key(text: str, what: str) -> KeyText:
    try:
        key = parse_key(text)
    except ConsentError as error:
        raise Refused("invalid_value", f"{what}: {error.detail}") from error
    if key.kind != SIGNS_NOTES:
        raise Refused("invalid_value", f"{what} is of kind {key.kind} and signs no checkpoints")
    return key
