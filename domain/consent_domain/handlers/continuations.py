"""The log goes on in another epoch, after some of its events could not be had again."""

from __future__ import annotations

from consent_domain.checkpoints import EPOCH_MAX
from consent_domain.commands import ContinueLog
from consent_domain.errors import Refused
from consent_domain.events import LOG_STREAM, LogContinued
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.merkle import HASH_BYTES
from consent_domain.state import State


def continue_log(state: State, command: ContinueLog, context: Context) -> Verdict:
    """Its event stands right behind what is left. An epoch that was ever begun is never begun again; one may
    be left out, if all that is known of it is that it was."""
    if not state.everybody.epoch < command.epoch <= EPOCH_MAX:
        raise Refused(
            "wrong_state",
            f"epoch {state.everybody.epoch} is the log's, and {command.epoch} cannot follow it",
        )
    if command.size != context.next_position - 1:
        raise Refused(
            "wrong_state", f"the log ends at {context.next_position - 1}, and not at {command.size}"
        )
    if len(command.root) != HASH_BYTES:
        raise Refused("invalid_value", f"a root has {HASH_BYTES} bytes, not {len(command.root)}")
    body = LogContinued(
        origin=command.origin,
        epoch=command.epoch,
        size=str(command.size),
        root=command.root,
        **spoken(command, context),
    )
    return verdict(context, [(LOG_STREAM, body)], {"epoch": command.epoch})
