"""`consent simulate`: what a policy would change, for everybody, before it is published."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from consent_domain.commands import PublishPolicy
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token
from consent_domain.instants import Micros, micros
from consent_domain.policy import differences
from consent_domain.state import policy_at
from consent_domain.what_if import Overlay

from consent_gate.commands.changed_list import changed_list
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.replica import pinned_replica
from consent_gate.commands.richly import progress
from consent_gate.commands.settings import settings_of
from consent_gate.commands.simulated import Simulated, for_programs, in_words
from consent_gate.commands.usage import Subcommands, examples
from consent_gate.commands.waiting import add_wait
from consent_gate.offline import open_offline
from consent_gate.replica import Replica
from consent_gate.simulation.census import SAMPLES, Census
from consent_gate.simulation.changes import Comparison
from consent_gate.simulation.questions import Question, questions
from consent_gate.simulation.report import FIELDS, report
from consent_gate.store import Snapshot

POLICY_BYTES_MAX = 1 << 20
SAMPLES_MAX = 100
SNAPSHOT_AGE_SECONDS_MAX = 1e9
"""A snapshot may be of any age: what is simulated permits nothing, and says as of when it is."""
WIDENS, NOT_WIDER = 1, 0

_EXIT_CODES = (
    "Exit codes: 0 nobody's data could be used for more than before, or --allow-widening; 1 somebody's "
    "could;\n2 the policy would be refused, or it could not be told."
)
_EXAMPLES = """\
  consent simulate examples/policies/3-non-generative-only/publish-as-stricter.json
  consent simulate policy.json --by organisation --list changed.csv
  consent simulate policy.json --json --allow-widening"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "simulate", parents=[shared], help="what a policy would change, before it is published",
        **examples(_EXAMPLES, _EXIT_CODES),
    )  # fmt: skip
    command.add_argument(
        "policy", metavar="POLICY.json", help="as `POST /v1/policies` takes it: nothing is published"
    )
    command.add_argument(
        "--purpose", action="append", default=[], metavar="P", help="only this one; may be repeated"
    )
    command.add_argument(
        "--by", action="append", default=[], choices=FIELDS, help="also count by this; may be repeated"
    )
    command.add_argument(
        "--samples", type=int, default=SAMPLES, metavar="N",
        help=f"how many workspaces of each change are named, 0 to {SAMPLES_MAX}, by default {SAMPLES}",
    )  # fmt: skip
    command.add_argument(
        "--list", metavar="FILE", help="write every workspace that changes, as .csv or .jsonl"
    )
    command.add_argument(
        "--offline", metavar="FACTS.parquet",
        help="on this snapshot with its note beside it, and not on the ledger's facts of now",
    )  # fmt: skip
    add_wait(command)
    command.add_argument(
        "--allow-widening",
        action="store_true",
        help="exit with 0 also if somebody's data could be used for more",
    )
    command.set_defaults(run=simulate)


def simulate(options: argparse.Namespace) -> int:
    """Simulate, print what would change, return 1 if anybody's data could be used for more, else 0.

    Raises ConsentError as the ledger would refuse the policy, and for what cannot be told.
    """
    if not 0 <= options.samples <= SAMPLES_MAX:
        raise ConsentError("invalid_value", f"--samples is {options.samples}; it must be 0 to {SAMPLES_MAX}")
    policy = read_policy(Path(options.policy))
    with _moment(options) as moment:
        simulated = _simulated(moment, policy, options)
    by = options.by or ["plan"]
    print(
        json.dumps(for_programs(simulated, by), ensure_ascii=False)
        if options.json
        else in_words(simulated, by)
    )
    return NOT_WIDER if options.allow_widening or not simulated.report.widens else WIDENS


def read_policy(path: Path) -> PublishPolicy:
    """The policy in a file. Raises ConsentError `invalid_value` or `malformed`."""
    try:
        with path.open("rb") as file:
            content = file.read(POLICY_BYTES_MAX + 1)
    except OSError as error:
        raise ConsentError("invalid_value", f"{path} cannot be read: {error.strerror}") from error
    if len(content) > POLICY_BYTES_MAX:
        raise ConsentError("too_large", f"{path} is longer than {POLICY_BYTES_MAX >> 20} MiB")
    try:
        return msgspec.json.decode(content, type=PublishPolicy)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConsentError(
            "malformed", f"{path} is no policy that `POST /v1/policies` takes: {error}"
        ) from error


class _Moment(NamedTuple):
    """Everybody's facts as of one position, and about how many rows they take."""

    snapshot: Snapshot
    token: Token
    at: Micros
    rows: int


@contextmanager
def _moment(options: argparse.Namespace) -> Iterator[_Moment]:
    """The facts now, from the ledger, or those of a snapshot file."""
    if options.offline is not None:
        if options.wait is not None:
            raise ConsentError("invalid_value", "a snapshot is there or not: leave --wait or --offline out")
        found = settings_of(options, "pipeline", needed=())
        with _snapshot_file(Path(options.offline), found.feed_key) as moment:
            yield moment
        return
    found = settings_of(options, "pipeline")
    with Ledger(found) as ledger, pinned_replica(ledger, found, options.wait) as (gate, pin):
        yield _Moment(pin.snapshot, pin.token, pin.at, _rows(gate.replica))


@contextmanager
def _snapshot_file(path: Path, feed_key: str) -> Iterator[_Moment]:
    if not feed_key:
        raise ConsentError(
            "invalid_value",
            "whose snapshot it should be is missing: say the ledger's public key by --feed-key",
        )
    replica, offline = open_offline(path, feed_key, SNAPSHOT_AGE_SECONDS_MAX)
    try:
        with replica.snapshot() as snapshot:
            meta = snapshot.meta
            token = Token(meta.origin, meta.epoch, meta.position)
            yield _Moment(snapshot, token, meta.time, _rows(replica))
    finally:
        offline.stop()


def _rows(replica: Replica) -> int:
    store = replica.store()
    return 0 if store is None else int(store.environment.lmdb.stat()["entries"])


def _simulated(moment: _Moment, policy: PublishPolicy, options: argparse.Namespace) -> Simulated:
    snapshot, token, now, rows = moment
    overlay = Overlay(snapshot, token.position, now).with_command(policy)
    at = max(overlay.at, micros(policy.effective_at))
    before, after = snapshot.book, overlay.book
    asked = _asked(questions(before, after, at), options.purpose)
    census = Census(Comparison(snapshot, after, at, asked), options.samples)
    with (
        changed_list(options.list, asked) as changed,
        progress("deciding", "workspaces") as shown,
    ):
        groups = census.count(snapshot, changed, lambda done: shown(done, max(done, rows)))
    in_force = policy_at(before, at)
    return Simulated(
        policy,
        str(token),
        now,
        at,
        "" if in_force is None else in_force.version,
        [] if in_force is None else differences(in_force.rules, policy.rules),
        census.workspaces,
        report(groups, asked, options.by or ["plan"], options.samples),
    )


def _asked(found: Sequence[Question], only: Sequence[str]) -> list[Question]:
    known = {question.purpose for question in found}
    for purpose in only:
        if purpose not in known:
            raise ConsentError(
                "unknown_purpose", f"neither version has a purpose {purpose!r}; there are {', '.join(known)}"
            )
    return [question for question in found if not only or question.purpose in only]
