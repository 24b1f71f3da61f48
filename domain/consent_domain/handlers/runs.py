"""Runs that used data, what was done about what is due of them, and who has applied how much of the log.

Whether a manifest's permits were given is verified before a run is registered, by whoever holds the
log (`consent_ledger.runs`); here it is decided whether the run may be recorded beside the others.
"""

from __future__ import annotations

from consent_domain.commands import DischargeRun, NotifyRecipient, RegisterRun
from consent_domain.errors import Refused
from consent_domain.events import RecipientNotified, RunDischarged, RunRegistered
from consent_domain.handlers.checks import id_of, instant_of, sha256_of, word_of
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.instants import moment_of, rfc3339
from consent_domain.runs import ACTIONS, Run
from consent_domain.state import State


def run_stream(name: str) -> str:
    """The stream of a run."""
    return f"run/{name}"


def recipient_stream(name: str) -> str:
    """The stream of somebody who takes part."""
    return f"recipient/{name}"


def register(state: State, command: RegisterRun, context: Context) -> Verdict:
    """The run is recorded, once, behind the runs whose outputs it used."""
    stream = run_stream(id_of(command.run, "run"))
    known = state.stream(stream)
    if known is not None:
        raise Refused(
            "already_exists",
            f"a run {command.run} is registered; give every run a name of its own",
            position=str(known.position),
        )
    for parent in command.parents:
        _known_run(state, id_of(parent, "parents"))
    if command.epoch != state.everybody.epoch:
        raise Refused(
            "manifest_refused",
            f"the manifest was verified in epoch {command.epoch}; epoch {state.everybody.epoch} has begun",
        )
    _happened(command.position, context, "token")
    if instant_of(command.at, "at") > context.now:
        raise Refused("postdated", f"at must not lie after {rfc3339(context.now)}, which is now")
    body = RunRegistered(
        purpose=id_of(command.purpose, "purpose"),
        manifest_sha256=sha256_of(command.manifest_sha256, "manifestSha256"),
        set_sha256=sha256_of(command.set_sha256, "setSha256"),
        position=str(command.position),
        at=moment_of(instant_of(command.at, "at")),
        outputs=command.outputs,
        parents=command.parents,
        code=command.code,
        **spoken(command, context),
    )
    return verdict(context, [(stream, body)], {"run": command.run})


def discharge(state: State, command: DischargeRun, context: Context) -> Verdict:
    """What was due of the run by `through` is done; what becomes due later is not."""
    run = _known_run(state, id_of(command.run, "run"))
    _happened(command.through, context, "through")
    if command.through < run.known_at:
        raise Refused(
            "invalid_value",
            f"through is {command.through}, and the run itself stood on position {run.known_at}",
        )
    named = {output.uri for output in run.outputs}
    for uri in command.outputs:
        if uri not in named:
            raise Refused("invalid_value", f"outputs names something that did not come out of {run.id}")
    body = RunDischarged(
        action=word_of(command.action, ACTIONS, "action"),
        through=str(command.through),
        evidence_sha256=sha256_of(command.evidence_sha256, "evidenceSha256"),
        outputs=command.outputs,
        **spoken(command, context),
    )
    return verdict(context, [(run_stream(run.id), body)], {"run": run.id})


def notify(state: State, command: NotifyRecipient, context: Context) -> Verdict:
    """The recipient has applied everything up to the position. What is known already changes nothing."""
    stream = recipient_stream(id_of(command.recipient, "recipient"))
    _happened(command.position, context, "token")
    known = state.stream(stream)
    applied = 0 if known is None else known.applied
    answer: dict[str, object] = {"recipient": command.recipient, "applied": str(command.position)}
    if command.position == applied:
        return Verdict([], answer)
    if command.position < applied:
        raise Refused(
            "wrong_state",
            f"{command.recipient} said before that it has applied {applied}, which cannot be undone; a "
            "recipient that was restored has another name",
            applied=str(applied),
        )
    body = RecipientNotified(position=str(command.position), **spoken(command, context))
    return verdict(context, [(stream, body)], answer)


def _known_run(state: State, name: str) -> Run:
    found = state.stream(run_stream(name))
    if found is None or found.run is None:
        raise Refused("unknown_run", f"no run {name} is registered; register it first")
    return found.run


def _happened(position: int, context: Context, what: str) -> None:
    if not 0 <= position < context.next_position:
        raise Refused("invalid_value", f"{what} names position {position}, which is not recorded yet")
