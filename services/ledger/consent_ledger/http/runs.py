"""Answers about runs: registered, listed, explained; what is due of them; who has applied how much."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
from consent_domain import manifest as manifests
from consent_domain.commands import Command, DischargeRun, NotifyRecipient
from consent_domain.decide import Decision
from consent_domain.envelope import decode as decode_event
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import RecipientNotified, RunOutput
from consent_domain.identifiers import Token, parse_token, require_id
from consent_domain.instants import Micros, micros, rfc3339
from consent_domain.manifest import Manifest
from consent_domain.runs import Run
from consent_plumbing.postgres import acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.http import run_messages as messages
from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.json_body import decode
from consent_ledger.http.permissions import nowhere, require_own
from consent_ledger.http.reads import PAGE_DEFAULT, PAGE_MAX, POSITION_MAX, reading
from consent_ledger.http.writes import answer_of, command_from
from consent_ledger.runs import obligations as due
from consent_ledger.runs import reading as runs
from consent_ledger.runs.judging import Judging, stated
from consent_ledger.runs.obligations import Obligation
from consent_ledger.runs.registration import prepare, signature
from consent_ledger.time_travel import Folded, View, When, viewing

_decode_run = msgspec.json.Decoder(messages.GivenRun)
_decode_discharge = msgspec.json.Decoder(messages.GivenDischarge)
_decode_applied = msgspec.json.Decoder(messages.GivenApplied)
_TEXT_TYPE = "text/plain; charset=utf-8"
EVIDENCE_CHARACTERS_MAX = 100_000


# -- registering ---------------------------------------------------------------------------------------------


async def register(call: Call) -> Answer:
    """Verify the manifest in the body, record the run, sign the manifest."""
    given = decode(_decode_run, call.body)
    prepared = await prepare(call.worker, given.manifest, given.set, keep=not call.dry_run)
    outcome = await call.worker.writer.write(
        prepared.command,
        call.principal,
        idempotency_key=call.idempotency_key,
        expected_version=call.expected_version,
        dry_run=call.dry_run,
    )
    command = prepared.command
    answer = {
        **outcome.answer,
        "manifestSha256": command.manifest_sha256,
        "setSha256": command.set_sha256,
    }
    if outcome.last_position:
        # A dry run is signed by nobody: it would be a manifest that no event stands for.
        answer["signature"] = b64encode(signature(call.worker.signer, prepared.digest)).decode()
        answer["proofUrl"] = f"/v1/events/{outcome.last_position}/proof"
    return answer_of(msgspec.structs.replace(outcome, answer=answer), 201)


# -- reading -------------------------------------------------------------------------------------------------


async def listed(call: Call) -> Answer:
    """A page of runs: all, or those that used a workspace's data. An owner must name its own."""
    workspace = call.query.get("workspace", "")
    purpose = call.query.get("purpose", "")
    after = call.number("after", 0, 0, POSITION_MAX)
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    if purpose:
        require_id(purpose, "purpose")
    ordinal = await _ordinal(call, workspace) if _names(call, workspace) else None
    async with acquire(call.worker.pool) as connection:
        head = await connection.fetchrow(STATEMENTS["read_head"])
        assert head is not None, "the head has one row, which nothing deletes"
        if ordinal is None:
            page = await runs.runs_after(connection, purpose, after, limit)
        else:
            page = await runs.runs_using(connection, ordinal, purpose, after, limit)
    log = Token(head["origin"], head["epoch"], head["position"])
    owned = call.principal.scope_kind is not None
    items = [_item(run, log, outputs=not owned) for run in page.runs]
    return Answer(200, encode(messages.RunList(runs=items, next=str(page.last) if page.last else "")))


def _names(call: Call, workspace: str) -> bool:
    """Whether a workspace is asked about. Raises ConsentError if it may not be, or an owner asks of none."""
    if workspace:
        require_own(call.principal, "workspace", require_id(workspace, "workspace"))
        return True
    if call.principal.scope_kind is not None:
        raise ConsentError("malformed", "an owner asks about its own workspace: say ?workspace=")
    return False


async def _ordinal(call: Call, workspace: str) -> int:
    async with viewing(call.worker.pool, call.worker.books, When()) as view:
        facts = (await view.facts([workspace])).workspace(workspace)
    if facts is None:
        raise nowhere("workspace", workspace)
    return facts.position


async def read(call: Call) -> Answer:
    """One run and its manifest, from the log and what is kept beside it."""
    name = call.id_in_path("run")
    async with viewing(call.worker.pool, call.worker.books, When()) as view:
        run = await runs.run_named(view, name)
    encoded = await runs.kept(call.worker.pool, run.manifest_sha256)
    told = msgspec.structs.asdict(_item(run, view.token))
    sealed = signature(call.worker.signer, bytes.fromhex(run.manifest_sha256))
    state = messages.RunState(**told, manifest=msgspec.Raw(encoded), signature=b64encode(sealed).decode())
    return Answer(200, encode(state))


async def explain(call: Call) -> Answer:
    """Whether a run used a workspace's data, why that was permitted, and whether it would be now."""
    name = call.id_in_path("run")
    workspace = call.query.get("workspace", "")
    if not workspace:
        raise ConsentError("malformed", "say whose data is asked about: ?workspace=")
    require_own(call.principal, "workspace", require_id(workspace, "workspace"))
    worker = call.worker
    async with viewing(worker.pool, worker.books, When()) as view:
        run = await runs.run_named(view, name)
        today = await view.facts([workspace])
        facts = today.workspace(workspace)
        if facts is None:
            raise nowhere("workspace", workspace)
        # What was recorded before the run stands in this epoch as it stood then.
        past = View(view.connection, worker.books, view.token._replace(position=run.known_at), run.at)
        manifest = _manifest(run, await runs.kept(worker.pool, run.manifest_sha256))
        then = _judged(past, await past.facts([workspace]), workspace, manifest)
        now = _judged(view, today, workspace, manifest)
        changed_at = ""
        if then.decision != now.decision and now.reasons:
            moment = await view.connection.fetchval(
                STATEMENTS["event_recorded_at"], int(now.reasons[0].get("position", "0"))
            )
            changed_at = "" if moment is None else rfc3339(micros(moment))
    ordinals = await runs.set_kept(worker.pool, run)
    told = messages.Explained(
        run=run.id,
        workspace=workspace,
        purpose=run.purpose,
        used=facts.position in ordinals,
        then=then,
        now=now,
        changed_at=changed_at,
    )
    return Answer(200, encode(told))


def _manifest(run: Run, encoded: bytes) -> Manifest:
    try:
        return manifests.decode(encoded)
    except ConsentError as error:
        raise ConsentError("damaged", f"the manifest of {run.id} cannot be read: {error.detail}") from error


def _judged(view: View, folded: Folded, workspace: str, manifest: Manifest) -> messages.Judged:
    judging = Judging(folded.book, manifest.purpose, tuple(manifest.categories), view.at, stated(manifest))
    decision: Decision = judging.decision_in(folded, workspace)
    return messages.Judged(
        decision="permit" if decision.permit else "deny",
        standing=decision.standing,
        reasons=[
            {"code": reason.code, **({"position": str(reason.position)} if reason.position else {})}
            for reason in decision.reasons
        ],
        policy_version=decision.policy_version,
        token=str(view.token),
        ledger_time=rfc3339(view.at),
        windows=[
            {"from": rfc3339(window.start), **({"to": rfc3339(window.end)} if window.end is not None else {})}
            for window in decision.windows
        ],
    )


def _item(run: Run, log: Token, *, outputs: bool = True) -> messages.RunItem:
    """A run in short; for an owner without what its vendor calls things inside."""
    if not outputs:
        return messages.RunItem(
            run=run.id,
            purpose=run.purpose,
            token=str(log._replace(position=run.known_at)),
            at=rfc3339(run.at),
            position=str(run.position),
            registered_at=rfc3339(run.registered_at),
        )
    return messages.RunItem(
        run=run.id,
        purpose=run.purpose,
        token=str(log._replace(position=run.known_at)),
        at=rfc3339(run.at),
        position=str(run.position),
        registered_at=rfc3339(run.registered_at),
        manifest_sha256=run.manifest_sha256,
        set_sha256=run.set_sha256,
        outputs=[
            RunOutput(kind=one.kind, uri=one.uri, version=one.version, digest=one.digest)
            for one in run.outputs
        ],
        parents=list(run.parents),
        code=run.code,
        discharges=[
            messages.DischargeOf(
                position=str(one.position),
                at=rfc3339(one.at),
                action=one.action,
                through=str(one.through),
                outputs=list(one.outputs),
                evidence_sha256=one.evidence_sha256,
            )
            for one in run.discharges
        ],
    )


# -- what is due ---------------------------------------------------------------------------------------------


async def obligations(call: Call) -> Answer:
    """What is due because of a workspace, or of a run."""
    workspace, run = call.query.get("workspace", ""), call.query.get("run", "")
    worker = call.worker
    if run and not workspace and call.principal.scope_kind is None:
        found = await due.of_run(worker.pool, worker.books, require_id(run, "run"))
    elif _names(call, workspace) and not run:
        of_workspace = await due.of_workspace(
            worker.pool, worker.books, workspace, alone=call.principal.scope_kind is not None
        )
        if of_workspace is None:
            raise nowhere("workspace", workspace)
        found = of_workspace
    else:
        raise ConsentError("malformed", "say of what: ?workspace= or ?run=, one of the two")
    only_open = call.query.get("open") == "true"
    owned = call.principal.scope_kind is not None
    answer = messages.ObligationList(
        obligations=[_obligation(one, owned) for one in found.found if one.is_open or not only_open],
        token=found.token,
        more=found.more,
        objections=[_objection(one, owned) for one in found.objections if one.is_open or not only_open],
        objections_more=found.objections_more,
    )
    return Answer(200, encode(answer), [(b"consent-token", found.token.encode())])


def _outputs(one: Obligation, owned: bool) -> list[messages.DueOutput]:
    return [
        messages.DueOutput(
            action=each.action,
            open=each.discharge is None,
            kind="" if each.output is None else each.output.kind,
            uri="" if each.output is None or owned else each.output.uri,
            version="" if each.output is None or owned else each.output.version,
            discharged_at="" if each.discharge is None else str(each.discharge.position),
        )
        for each in one.dues
    ]


def _objection(one: Obligation, owned: bool) -> messages.ObjectionItem:
    return messages.ObjectionItem(**_claim(one, owned))


def _obligation(one: Obligation, owned: bool) -> messages.ObligationItem:
    return messages.ObligationItem(**_claim(one, owned), due_at=rfc3339(one.due_at))


def _claim(one: Obligation, owned: bool) -> dict[str, Any]:
    return {
        "workspace": one.workspace,
        "claimed_by": one.by,
        "run": one.run.id,
        "via": one.via,
        "because": one.claim.kind,
        "request": one.claim.request,
        "position": str(one.claim.position),
        "open": one.is_open,
        "outputs": _outputs(one, owned),
    }


async def discharge(call: Call) -> Answer:
    """Record that what was due of the run in the path is done, with its evidence."""
    given = decode(_decode_discharge, call.body)
    through = await _position(call, given.through)
    evidence = await _evidence(call, given)
    members = {
        "run": call.id_in_path("run"),
        "action": given.action,
        "through": through,
        "evidenceSha256": evidence,
        "outputs": given.outputs,
    }
    command = command_from(call.principal, DischargeRun, members)
    return await _write(call, command, {"evidenceSha256": evidence})


async def _evidence(call: Call, given: messages.GivenDischarge) -> str:
    """The SHA-256 of the evidence; words are kept, as `/v1/texts` keeps them."""
    if bool(given.evidence.strip()) == bool(given.evidence_sha256):
        raise ConsentError("invalid_value", "give the evidence as words, or by its SHA-256: one of the two")
    if not given.evidence:
        return given.evidence_sha256
    if len(given.evidence) > EVIDENCE_CHARACTERS_MAX:
        raise ConsentError("too_large", f"evidence has at most {EVIDENCE_CHARACTERS_MAX} characters")
    content = given.evidence.encode()
    digest = hashlib.sha256(content)
    if not call.dry_run:
        async with acquire(call.worker.pool) as connection:
            with suppress(asyncpg.UniqueViolationError):
                await connection.execute(STATEMENTS["insert_blob"], digest.digest(), _TEXT_TYPE, content)
    return digest.hexdigest()


# -- recipients ----------------------------------------------------------------------------------------------


async def applied(call: Call) -> Answer:
    """Record that the recipient in the path has applied everything up to a token."""
    position = await _position(call, decode(_decode_applied, call.body).token)
    members = {"recipient": call.id_in_path("recipient"), "position": position}
    return await _write(call, command_from(call.principal, NotifyRecipient, members), {})


async def recipients(call: Call) -> Answer:
    """A page of recipients by name, each by its last word."""
    after = call.query.get("after", "")
    if after:
        require_id(after, "after")
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    async with reading(call.worker.pool) as connection:
        head = await connection.fetchrow(STATEMENTS["read_head"])
        assert head is not None, "the head has one row, which nothing deletes"
        rows = await connection.fetch(STATEMENTS["recipients_after"], f"recipient/{after}", limit)
    log = Token(head["origin"], head["epoch"], head["position"])
    listed = [
        _recipient(row["stream"].partition("/")[2], micros(row["recorded_at"]), row["body"], log.position)
        for row in rows
    ]
    following = listed[-1].recipient if len(rows) == limit else ""
    return Answer(200, encode(messages.RecipientList(recipients=listed, token=str(log), next=following)))


def _recipient(name: str, told_at: Micros, stored: bytes, head: int) -> messages.RecipientState:
    try:
        body = decode_event(stored).body
    except Unreadable:
        body = None
    position = int(body.position) if isinstance(body, RecipientNotified) else 0
    return messages.RecipientState(
        recipient=name, applied=str(position), behind=str(head - position), told_at=rfc3339(told_at)
    )


# -- both ----------------------------------------------------------------------------------------------------


async def _position(call: Call, text: str) -> int:
    """The position of a token of this log and epoch. Raises ConsentError `invalid_token` for another."""
    token = parse_token(text)
    async with acquire(call.worker.pool) as connection:
        head = await connection.fetchrow(STATEMENTS["read_head"])
    assert head is not None, "the head has one row, which nothing deletes"
    if (token.origin, token.epoch) != (head["origin"], head["epoch"]) or token.position > head["position"]:
        raise ConsentError(
            "invalid_token",
            f"{token} is of another log or epoch than {head['origin']}/{head['epoch']}, or not recorded yet",
        )
    return token.position


async def _write(call: Call, command: Command, told: dict[str, object]) -> Answer:
    outcome = await call.worker.writer.write(
        command,
        call.principal,
        idempotency_key=call.idempotency_key,
        expected_version=call.expected_version,
        dry_run=call.dry_run,
    )
    return answer_of(msgspec.structs.replace(outcome, answer={**outcome.answer, **told}), 200)
