"""A run's life, folded from the events of its stream, and what is due when consent ends after it.

What is due to whom: somebody whose data a run used (it is in the run's set) objects, takes consent
back or is erased. Then what came out of the run, and of every run that used its outputs, is due:
models to be trained again, everything else to be purged. Until somebody says of a run that it was
done, up to which position, the obligation is open.

An opt-out denies all use from then on. Of what exists it reaches what it says, and that alone is due. The
rest is no duty that the ledger could name a day for, but it still is made of the data of somebody who has
objected: it is to be *reviewed*, and is told apart from what is due, until somebody says that it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from consent_domain import events
from consent_domain.envelope import Event
from consent_domain.facts import EVERYTHING, Choices, OrganisationFacts, Packed, WorkspaceFacts
from consent_domain.grounds import Case, names, stands_at, still_permits
from consent_domain.instants import Micros, micros
from consent_domain.requests import Request

PURGE, RETRAIN, REVIEW = "purge", "retrain", "review"
ACTIONS = ("purged", "retrained", "not_affected")
REACH_DATASETS, REACH_MODELS = "datasets", "models"
"""What an opt-out may reach that exists already, beside future use."""


class Output(Packed, frozen=True):
    """What came out of a run."""

    kind: str
    uri: str
    version: str = ""
    digest: str = ""


class Discharge(Packed, frozen=True):
    """Somebody did what was due for all that the ledger knew at `through`; no outputs: all of the run's."""

    position: int
    at: Micros
    action: str
    through: int
    outputs: tuple[str, ...]
    evidence_sha256: str
    recorded_by: str


class Run(Packed, frozen=True):
    """A registered run. `known_at` is the position that its checks stood on, `at` their ledger time."""

    id: str
    purpose: str
    known_at: int
    at: Micros
    position: int
    registered_at: Micros
    manifest_sha256: str
    set_sha256: str
    outputs: tuple[Output, ...] = ()
    parents: tuple[str, ...] = ()
    code: str = ""
    recorded_by: str = ""
    discharges: tuple[Discharge, ...] = ()


def fold_run(run: Run | None, event: Event) -> Run | None:
    """The run after the next event of its stream. Raises AssertionError for an impossible history."""
    body = event.body
    match body:
        case events.RunRegistered():
            assert run is None, "a run is registered once"
            return Run(
                event.stream.partition("/")[2],
                body.purpose,
                position_in(body.position),
                micros(body.at),
                event.position,
                event.time,
                body.manifest_sha256,
                body.set_sha256,
                tuple(Output(one.kind, one.uri, one.version, one.digest) for one in body.outputs),
                tuple(body.parents),
                body.code,
                body.recorded_by.principal,
            )
        case events.RunDischarged():
            assert run is not None, "a run is registered before anything is due of it"
            done = Discharge(
                event.position,
                event.time,
                body.action,
                position_in(body.through),
                tuple(body.outputs),
                body.evidence_sha256,
                body.recorded_by.principal,
            )
            return replace(run, discharges=(*run.discharges, done))
    return run


def position_in(text: str) -> int:
    """The position that an event names. Raises AssertionError for what no handler writes."""
    assert text.isascii() and text.isdigit(), "positions are written as decimal digits"
    return int(text)


class Due(NamedTuple):
    """Something that an output must undergo: what, and which discharge did it (None: nobody yet).

    A run that names no outputs may have any: `output` is None then, and only a discharge of the whole run
    does it.
    """

    output: Output | None
    action: str
    discharge: Discharge | None


def dues(run: Run, reach: tuple[str, ...], since: int) -> list[Due]:
    """What is due of a run's outputs for a claim that counts since the event at `since`.

    `reach` says of what: `datasets` (everything but models), `models`.
    """
    found = []
    for output in run.outputs or (None,):
        if _is_reached(output, reach):
            action = RETRAIN if output is not None and output.kind == "model" else PURGE
            found.append(Due(output, action, _discharged(run, output, since)))
    return found


def reviews(run: Run, reach: tuple[str, ...], since: int) -> list[Due]:
    """The outputs of a run that an opt-out does not reach, which are made of that data all the same."""
    return [
        Due(output, REVIEW, _discharged(run, output, since))
        for output in run.outputs or (None,)
        if not _is_reached(output, reach)
    ]


def _is_reached(output: Output | None, reach: tuple[str, ...]) -> bool:
    """Of a run that names no outputs, any may be what is reached."""
    if output is None:
        return bool(reach)
    return (REACH_MODELS if output.kind == "model" else REACH_DATASETS) in reach


def _discharged(run: Run, output: Output | None, since: int) -> Discharge | None:
    for one in run.discharges:
        named = not one.outputs or (output is not None and output.uri in one.outputs)
        if named and one.through >= since:
            return one
    return None


class Claim(NamedTuple):
    """Why what came of a workspace's data is due: `opt_out`, `opt_in_withdrawn` or `erased`.

    `request` is the id of the opt-out or opt-in, `position` that of the event which made it count, and
    `reach` what of the existing it reaches: `datasets`, `models`, or nothing. An `opt_out_requested` denies,
    and its authority is not proven enough yet for anything to be due: it reaches nothing.
    """

    kind: str
    request: str
    position: int
    since: Micros
    reach: tuple[str, ...]


BOTH = (REACH_DATASETS, REACH_MODELS)


def claims(
    facts: WorkspaceFacts,
    organisations: Mapping[str, OrganisationFacts],
    requests: Mapping[str, Request],
    case: Case,
    at: Micros,
) -> list[Claim]:
    """What a workspace claims of the purpose of `case` at ledger time `at`, for itself or by an organisation.

    `organisations` are those that it ever belonged to, `requests` all of their opt-outs and its own. An
    opt-out whose request is not among them reaches everything: nothing is known to spare anything.
    """
    found = []
    if facts.erased_position:
        found.append(Claim("erased", "", facts.erased_position, at, BOTH))
    found += _claims_of(facts.choices, requests, case, at)
    for name, organisation in organisations.items():
        for claim in _claims_of(organisation.choices, requests, case, at):
            if _belonged(facts, name, claim.since):
                found.append(claim)
    return sorted(found, key=lambda claim: claim.position)


def _claims_of(choices: Choices, requests: Mapping[str, Request], case: Case, at: Micros) -> Iterator[Claim]:
    for opt_out in choices.opt_outs:
        counts = opt_out.breadth == EVERYTHING or opt_out.processed
        stands = opt_out.since <= at and (opt_out.ended is None or at < opt_out.ended)
        if counts and stands and names(opt_out.selector, case):
            request = requests.get(opt_out.request)
            reach = BOTH if request is None else reached(request.reach)
            if reach or not still_permits(opt_out, at):
                yield Claim("opt_out", opt_out.request, opt_out.position, opt_out.since, reach)
        elif stands_at(opt_out, case, at) and not still_permits(opt_out, at):
            yield Claim("opt_out_requested", opt_out.request, opt_out.position, opt_out.since, ())
    for opt_in in choices.opt_ins:
        taken_back = opt_in.ended is not None and opt_in.ended <= at and not opt_in.refused
        if taken_back and opt_in.ended is not None and not case.keys.isdisjoint(opt_in.keys):
            yield Claim("opt_in_withdrawn", opt_in.id, opt_in.ended_position, opt_in.ended, BOTH)


def reached(words: tuple[str, ...]) -> tuple[str, ...]:
    """What of the existing an opt-out reaches by its own words; a word that nobody knows spares nothing."""
    if set(words) - set(BOTH):
        return BOTH
    return tuple(word for word in BOTH if word in words)


def _belonged(facts: WorkspaceFacts, organisation: str, since: Micros) -> bool:
    """Whether the workspace belonged to the organisation at `since` or any time after."""
    ends: list[Micros | None] = [later.since for later in facts.attributes[1:]]
    return any(
        one.organisation == organisation and (end is None or since < end)
        for one, end in zip(facts.attributes, [*ends, None], strict=True)
    )
