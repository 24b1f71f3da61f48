"""A job's manifest: what it stood on and whose data it used, as the ledger verifies and signs it.

    with gate.job(purpose="train.search_ranking") as job:
        rows = job.filter(table, "workspace_id")
        train(rows)
        prepared = gate.manifest(job, "ranker-2026-02-01", outputs=[model("models:/ranker", "7")])
    told = register(prepared, url, token)

The set of workspaces is a 64-bit Roaring bitmap over ordinals (positions of enrolment). It needs the
extra `manifest`.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from consent_domain import manifest as manifests
from consent_domain.errors import ConsentError
from consent_domain.events import RunOutput
from consent_domain.instants import moment_of
from consent_domain.manifest import Input, Manifest

from consent_gate.engines.job import Job, Result
from consent_gate.engines.report import Report
from consent_gate.replica import Replica


class Prepared(NamedTuple):
    """A manifest and the bytes of its set, ready to be registered. `encode` is what is sent and kept."""

    manifest: Manifest
    set: bytes

    def encode(self) -> bytes:
        """The body of `POST /v1/runs`, and what `consent runs register` reads from a file."""
        return msgspec.json.encode({"manifest": self.manifest, "set": b64encode(self.set).decode()})


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    manifest: Manifest
    set: bytes


_decode = msgspec.json.Decoder(_Sent).decode


def dataset(uri: str, version: str = "", digest: str = "") -> RunOutput:
    """A data set that came out of a run."""
    return RunOutput(kind="dataset", uri=uri, version=version, digest=digest)


def model(uri: str, version: str = "", digest: str = "") -> RunOutput:
    """A model that came out of a run."""
    return RunOutput(kind="model", uri=uri, version=version, digest=digest)


def prepare(
    of: Job | Result,
    run: str,
    *,
    outputs: Sequence[RunOutput],
    inputs: Sequence[Input] = (),
    parents: Sequence[str] = (),
    code: str = "",
    checkpoint: str = "",
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> Prepared:
    """What `Gate.manifest` returns: the manifest of a job, so far. Make it when the data has gone through.

    `outputs` is what must be purged or trained again when somebody withdraws: name all of them. `parents`
    are the runs whose outputs were read. Counts that the job does not know are left out. Raises
    ConsentError `invalid_value` and others for what no manifest may say, `unavailable` without the extra
    `manifest` or a replica. Cost: two microseconds a workspace.
    """
    job = of.job if isinstance(of, Result) else of
    report = job.report()
    names = job.workspaces() if job.is_collected_stated else _permitted_unstated(job)
    data = encode_set(ordinals_of(job.replica, names))
    reasons: Counter[str] = Counter()
    for verdict, rows in (report.reasons or {}).items() if report.ended else ():
        reasons[verdict.code] += rows
    known = report.ended
    manifest = Manifest(
        run=run,
        purpose=report.purpose,
        categories=list(report.categories),
        token=report.token,
        at=moment_of(report.ledger_time),
        policy_version=report.policy_version,
        mode="replica" if report.offline is None else "snapshot",
        collected="rows" if job.is_collected_stated else "unstated",
        workspaces=str(len(names)),
        set_sha256=hashlib.sha256(data).hexdigest(),
        set_scope=report.set_scope,
        checkpoint=checkpoint,
        code=code,
        inputs=[*inputs, *_snapshot(report)],
        outputs=list(outputs),
        parents=list(parents),
        rows_in=str(report.rows_in) if known and report.rows_in is not None else "",
        rows_out=str(report.rows_out) if known and report.rows_out is not None else "",
        reasons={code: str(rows) for code, rows in sorted(reasons.items())},
        overtaken=report.spans_withdrawal,
        started_at=started_at,
        ended_at=ended_at,
    )
    manifests.check(manifest)
    return Prepared(manifest, data)


def _snapshot(report: Report) -> list[Input]:
    """What an offline job stood on, as the last of its inputs; how old it was says the manifest's `at`."""
    if report.offline is None:
        return []
    return [Input(uri=f"consent-snapshot:{report.token}", digest=f"sha256:{report.offline.sha256}")]


def _permitted_unstated(job: Job) -> Sequence[str]:
    """Those whose rows were kept: their data is permitted whenever it was collected."""
    names = job.workspaces()
    judge = job.judge()
    return [
        name
        for name, standing in zip(names, judge.standings(names), strict=True)
        if judge.table[standing.unstated].permit
    ]


def ordinals_of(replica: Replica, names: Iterable[str]) -> list[int]:
    """The positions of enrolment of workspaces, which never change, from any replica of the ledger.

    Raises ConsentError `unknown_workspace` for one that is not there, `unavailable` without a replica.
    """
    with replica.snapshot() as snapshot:
        found = []
        for name in names:
            facts = snapshot.workspace(name)
            if facts is None:
                raise ConsentError("unknown_workspace", f"the replica knows no workspace {name!r}")
            found.append(facts.position)
        return found


def encode_set(ordinals: Iterable[int]) -> bytes:
    """A set as the ledger reads it. Raises ConsentError `unavailable` without pyroaring."""
    bits: Any = _bitmap()(list(ordinals))
    bits.run_optimize()
    data: bytes = bits.serialize()
    return data


def _bitmap() -> Any:
    try:
        from pyroaring import BitMap64
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", "pyroaring is not installed: pip install 'consent-gate[manifest]'"
        ) from error
    return BitMap64


def read(path: Path) -> Prepared:
    """What `Prepared.encode` wrote into a file. Raises ConsentError `invalid_value` for anything else."""
    try:
        sent = _decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConsentError("invalid_value", f"{path} holds no prepared manifest: {error}") from error
    return Prepared(sent.manifest, sent.set)


def register(prepared: Prepared, url: str, token: str) -> dict[str, Any]:
    """Register with the ledger at `url`, with the API key of a pipeline; its answer.

    Sent again, the same manifest is answered the same. Raises ConsentError `manifest_refused` and
    whatever else the ledger refuses with, `unavailable` if it does not answer.
    """
    from consent_gate.commands.ledger import Ledger
    from consent_gate.commands.settings import Settings

    with Ledger(Settings(url, token, "", "")) as ledger:
        return register_with(ledger, prepared)


def register_with(ledger: Any, prepared: Prepared) -> dict[str, Any]:
    """`register` with a `consent_gate.commands.ledger.Ledger`."""
    key = hashlib.sha256(manifests.encode(prepared.manifest)).hexdigest()
    told: dict[str, Any] = ledger.post("/v1/runs", prepared.encode(), {"idempotency-key": key})
    return told
