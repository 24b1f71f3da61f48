"""The story: ten steps, each of which asks, answers, and says why it matters. What it claims, it checks.

Whoever tells it runs everything as a stranger would: the ledger's HTTP API with API keys, and the
command `consent`. Nothing is looked up in a database.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consent_local.children import ServerError
from consent_local.demo.asking import Caller, Ran, make_owner_key, run_consent
from consent_local.demo.examples import (
    TRAINING_BEGAN,
    Customer,
    Examples,
    count_permitted,
    count_with,
    import_lines,
    rfc3339,
    write_messages,
)
from consent_local.demo.stage import Stage
from consent_local.demo.telling import Telling

TRAIN = "train.search_ranking"
SERVE = "serve.search_ranking"
OWN = "train.own_workspace"
GENERATE = "train.generative"
DENY_MILLISECONDS = 50
KEY_SECONDS_MAX = 5.0
LIVE_SECONDS_MAX = 15.0
VERSION_4_AFTER = timedelta(seconds=4)


class Story:
    """What the people of the story know of each other, from one step to the next."""

    def __init__(self, stage: Stage, telling: Telling, examples: Examples, folder: Path) -> None:
        self._stage = stage
        self._tell = telling
        self._examples = examples
        self._folder = folder
        self._customers = examples.customers()
        cast = [one for one in self._customers if _is_ordinary(one)]
        self._hers, self._partner, self._opts_in, self._members, self._anonymous = cast[:5]
        self._answers: dict[str, Any] = {}
        """What the pipeline was told in the end, to compare with what it is told after the crash."""

    def run(self) -> None:
        """Tell it all. Raises Untrue at the first claim that is not so, ServerError if something fails."""
        for number, (step, title) in enumerate(self._steps(), start=1):
            self._tell.step(number, title)
            step()

    def _steps(self) -> Sequence[tuple[Any, str]]:
        return (
            (self._import, "Two versions of the policy, and ten thousand workspaces"),
            (self._ask, "An owner asks"),
            (self._filter, "A pipeline filters a million messages for training"),
            (self._opt_out, "She opts out"),
            (self._process, "She is still served, and her request is processed"),
            (self._reword, "The vendor publishes version 3, “only clearer words”"),
            (self._opt_in, "Version 4 asks before it trains"),
            (self._others, "A member's word, and nobody's word"),
            (self._crash, "Everything is killed, and started again"),
            (self._audit, "The auditor asks what was known when"),
        )

    def open(self) -> None:
        """Start everything, and take the keys."""
        self._tell.note("starting PostgreSQL, NATS, the projector, the publisher and the ledger …")
        seconds = self._stage.start()
        self._tell.note(f"ready after {seconds:.1f} s")
        self._connect()

    def _connect(self) -> None:
        self._credentials = self._stage.credentials
        self._url: str = self._credentials["url"]
        keys = self._credentials["keys"]
        self._staff, self._auditor, self._pipeline = (
            Caller(self._url, keys[role]) for role in ("admin", "auditor", "pipeline")
        )

    # -- 1 ---------------------------------------------------------------------------------------------------

    def _import(self) -> None:
        """Versions 1 and 2, and everybody as they stood on the day before the ledger."""
        policies = [
            self._examples.policy("1-analysis/import"),
            self._examples.policy("2-training-by-default/import"),
        ]
        earlier = sum(1 for one in self._customers if one.opted_out_at)
        lines = import_lines(policies, self._customers)
        self._tell.asked(
            f"POST /v1/import, {len(lines):,} lines: policy {policies[0]['version']} (analysis, no word of "
            f"AI), policy {policies[1]['version']} (models trained on everybody's messages, out by mail), "
            f"{len(self._customers):,} workspaces, {earlier} of which had objected by mail"
        )
        answer = self._staff.post_lines("/v1/import", lines)
        _require(answer.status == 200, f"the import was answered {answer.status}: {answer.body}")
        self._tell.answered(f"{answer.body['applied']:,} recorded in {answer.milliseconds / 1000:.1f} s")
        self._tell.holds("every line was recorded", answer.body["applied"], len(lines))
        opened = self._staff.post("/v1/commands", {"commands": [{"command": "open-ledger"}]})
        _require(opened.status == 200, f"opening the ledger was answered {opened.status}: {opened.body}")
        on = self._count_on()
        self._tell.holds(
            f"{on:,} are on. Nobody was asked.", on, sum(1 for one in self._customers if one.is_on)
        )
        self._tell.matters(
            "a default is recorded as one, under its version: the ledger never calls it consent"
        )

    def _count_on(self) -> int:
        """How many workspaces' data of this moment may be used for training, by one batch of checks."""
        names = [one.workspace for one in self._customers]
        asked = {"purpose": TRAIN, "workspaces": names, "collected": {"at": _now()}}
        imported = self._staff.get("/v1/policies").body["token"]
        deadline = time.monotonic() + LIVE_SECONDS_MAX
        while True:
            answer = self._pipeline.post("/v1/check/batch", asked | {"atLeast": imported})
            _require(answer.status == 200, f"the batch was answered {answer.status}: {answer.body}")
            undecided = {"stale", "catching_up"} & set(answer.body["reasonCodes"])
            if not undecided or time.monotonic() > deadline:
                return sum(answer.body["permitted"])

    # -- 2 ---------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """On since when, under which words, why."""
        name = self._hers.workspace
        self._owner = self._owner_of(name)
        self._tell.asked(f"GET /v1/workspaces/{name}, with the key of the workspace's owner")
        answer = self._owner.get(f"/v1/workspaces/{name}")
        found = {one["purpose"]: one for one in answer.body["purposes"]}[TRAIN]
        words = self._examples.policy("2-training-by-default/import")
        self._tell.answered(
            f"{TRAIN}: {found['standing']} since {found['since'][:10]}, under version "
            f"{found['policyVersion']}: “{words['title']}”\n{found['sentence']}"
        )
        self._tell.holds("it is on by default, which is not consent", found["standing"], "defaulted_on")
        self._tell.holds("since the day of version 2", found["since"][:10], f"{TRAINING_BEGAN:%Y-%m-%d}")
        strange = self._owner.get(f"/v1/workspaces/{self._partner.workspace}")
        self._tell.holds("another's workspace is not there for her", strange.status, 404)
        self._tell.matters("she learns in one question what took others a mail, and no answer")

    def _owner_of(self, workspace: str) -> Caller:
        """Somebody with an owner's key that the ledger knows already."""
        key = make_owner_key(workspace, self._credentials["databaseUrl"])
        owner = Caller(self._url, key)
        deadline = time.monotonic() + KEY_SECONDS_MAX
        while owner.get(f"/v1/workspaces/{workspace}").status == 401 and time.monotonic() < deadline:
            time.sleep(0.1)
        return owner

    # -- 3 ---------------------------------------------------------------------------------------------------

    def _filter(self) -> None:
        """Her rows are in it. The position is kept."""
        self._messages = self._folder / "messages.parquet"
        self._table = write_messages(self._messages, self._customers, datetime.now(UTC))
        owns = count_with(self._table, self._hers.workspace)
        ran, kept = self._filtered("before.parquet")
        self._before, self._kept_before = ran.printed, kept
        self._tell_filtered(ran)
        expected = count_permitted(self._table, (one.workspace for one in self._customers if one.is_on))
        self._tell.holds("kept are the rows whose owners are all on, since version 2", len(kept), expected)
        hers = count_with(kept, self._hers.workspace)
        self._tell.holds(
            f"{hers} of her {owns} rows are in it: the others are older than version 2, or shared with "
            "somebody who is out",
            0 < hers <= owns,
        )
        self._tell.matters(f"the run keeps its token, {ran.printed['token']}: it proves what it was told")

    def _filtered(self, name: str) -> tuple[Ran, pa.Table]:
        out = self._folder / name
        words = ["filter", str(self._messages), str(out), "--column", "workspace_ids", "--purpose", TRAIN]
        words += ["--collected-column", "collected_at"]
        ran = run_consent(words, self._url, self._credentials["keys"]["pipeline"], self._folder / "replica")
        _require(ran.exit_code == 0, f"`consent filter` ended with {ran.exit_code}: {ran.printed}")
        table = pq.read_table(out)
        _require(len(table) == ran.printed["kept"], "what was written is not what was told")
        return ran, table

    def _tell_filtered(self, ran: Ran) -> None:
        told = ran.printed
        self._tell.asked(
            f"consent filter messages.parquet kept.parquet --column workspace_ids --purpose {TRAIN} "
            "--collected-column collected_at"
        )
        dropped = [one for one in told["reasons"] if not one["permit"]]
        reasons = "\n".join(f"  {one['rows']:>9,}  {one['code']}" for one in _summed(dropped)[:5])
        self._tell.answered(
            f"{told['kept']:,} of {told['rows']:,} rows kept in {told['seconds']:.1f} s; dropped:\n{reasons}"
        )

    # -- 4 ---------------------------------------------------------------------------------------------------

    def _opt_out(self) -> None:
        """Number, due date, deny at once. The same filter again."""
        name = self._hers.workspace
        training = {"class": {"processing": "train"}}
        self._tell.asked(f"POST /v1/workspaces/{name}/opt-outs: out of all training (the owner)")
        answer = self._owner.post(
            f"/v1/workspaces/{name}/opt-outs", {"selector": training, "applicant": {"role": "owner"}}
        )
        answered_at = time.perf_counter()
        first = self._pipeline.check(name, TRAIN, collected={"at": _now()})
        milliseconds = 1000 * (time.perf_counter() - answered_at)
        _require(answer.status == 202, f"the opt-out was answered {answer.status}: {answer.body}")
        self._request = answer.body["request"]
        self._tell.answered(
            f"202 after {answer.milliseconds:.0f} ms: request {self._request},\n"
            f"due {answer.body['dueAt'][:10]}, denied since {answer.body['deniedSince'][11:23]}\n"
            f"a pipeline that asks now: {first['decision']}, denied {milliseconds:.0f} ms after the answer"
        )
        self._tell.holds("the first decision after the answer is a denial", first["decision"], "deny")
        self._tell.holds("for that reason", first["reasons"][0]["code"], "opt_out_requested")
        if milliseconds > DENY_MILLISECONDS:
            self._tell.note(f"more than {DENY_MILLISECONDS} ms: this machine is busy with something else")
        ran, kept = self._filtered("after.parquet")
        self._tell.asked("the same filter of the same file again")
        before, after = (_rows(told, "opt_out_requested") for told in (self._before, ran.printed))
        hers = count_with(self._kept_before, name)
        self._tell.answered(
            f"{ran.printed['kept']:,} rows kept; {after - before} more are denied as opt_out_requested, at "
            f"event {first['reasons'][0]['position']}"
        )
        self._tell.holds("none of her rows is left", count_with(kept, name), 0)
        gone = self._kept_before.num_rows - kept.num_rows
        self._tell.holds(f"{gone} rows are gone, and they are hers", gone, hers)
        shared = count_with(self._kept_before, name) - _count_alone(self._kept_before, name)
        self._tell.holds(f"{shared} of them came from channels that she shares with others", shared > 0)
        self._tell.matters("out means out for the next job, not for the next release")

    # -- 5 ---------------------------------------------------------------------------------------------------

    def _process(self) -> None:
        """Still served by the model; staff process the request; the number says how long it took."""
        name = self._hers.workspace
        self._tell.asked(f"check {SERVE}: may the model, trained on others, rank her search results?")
        served = self._pipeline.check(name, SERVE, collected={"at": _now()})
        self._tell.answered(f"{served['decision']}: {served['sentence']}")
        self._tell.holds("who opts out of training is still served", served["decision"], "permit")
        self._tell.asked(f"staff: POST /v1/requests/{self._request}/acknowledge, then /process")
        for verb in ("acknowledge", "process"):
            done = self._staff.post(f"/v1/requests/{self._request}/{verb}", {})
            _require(done.status == 200, f"{verb} was answered {done.status}: {done.body}")
        request = self._wait_for_state("processed")
        took = _moment(request["processedAt"]) - _moment(request["receivedAt"])
        self._tell.answered(
            f"{request['state']}, {took.total_seconds():.1f} s after it was received; it was due "
            f"{request['dueAt'][:10]} ({request['law'].split(':')[0]})"
        )
        self._tell.holds(
            "the request says when it was received, due and processed", request["state"], "processed"
        )
        self._tell.holds("it was processed before it was due", request["processedAt"] < request["dueAt"])
        self._tell.matters("the other questions that support could not answer: how long, and under which law")

    def _wait_for_state(self, state: str) -> dict[str, Any]:
        """The request once the views show it in a state; as it is after 5 s."""
        deadline = time.monotonic() + KEY_SECONDS_MAX
        while True:
            answer = self._staff.get(f"/v1/requests/{self._request}")
            if answer.body.get("state") == state or time.monotonic() > deadline:
                found: dict[str, Any] = answer.body
                return found
            time.sleep(0.05)

    # -- 6 ---------------------------------------------------------------------------------------------------

    def _reword(self) -> None:
        """Refused with the difference; published as what it is."""
        now = {"effectiveAt": _now()}
        self._tell.asked("POST /v1/policies: version 3 as `editorial`, “wording improved for clarity”")
        refused = self._staff.post(
            "/v1/policies", self._examples.policy("3-non-generative-only/publish-as-editorial") | now
        )
        differences = refused.body.get("differences", [])
        told = "\n".join(f"  {one}" for one in differences[:4])
        self._tell.answered(
            f"{refused.status} {refused.body.get('code')}: {len(differences)} differences, among them\n{told}"
        )
        self._tell.holds("it is refused", refused.body.get("code"), "not_editorial")
        self._tell.holds("and every difference is named", len(differences) > 0)
        self._tell.asked("the same rules as `stricter`, which they are")
        published = self._staff.post(
            "/v1/policies", self._examples.policy("3-non-generative-only/publish-as-stricter") | now
        )
        self._tell.answered(f"{published.status}: event {published.body.get('position')}")
        self._tell.holds("it is published", published.status, 201)
        self._tell.matters("“only clearer words” is a claim that a machine can check, and does")

    # -- 7 ---------------------------------------------------------------------------------------------------

    def _opt_in(self) -> None:
        """Announced for later; one workspace opts in; its older data is still denied."""
        name = self._opts_in.workspace
        begins = datetime.now(UTC) + VERSION_4_AFTER
        command = self._examples.policy("4-generative-opt-in/publish") | {"effectiveAt": rfc3339(begins)}
        self._tell.asked(
            "POST /v1/policies: version 4, generative training for those who say yes, in force in "
            f"{VERSION_4_AFTER.seconds} s"
        )
        published = self._staff.post("/v1/policies", command)
        self._tell.holds("it is announced", published.status, 201)
        owner = self._owner_of(name)
        asked = owner.post(
            f"/v1/workspaces/{name}/opt-ins", {"keys": [GENERATE], "applicant": {"role": "owner"}}
        )
        _require(asked.status == 202, f"the opt-in was answered {asked.status}: {asked.body}")
        notice = {"givenAt": _now(), "channel": "settings_page", "textSha256": command["textSha256"]}
        granted = owner.post(
            f"/v1/opt-ins/{asked.body['optIn']}/grant", {"applicant": {"role": "owner"}, "notice": notice}
        )
        _require(granted.status == 200, f"the grant was answered {granted.status}: {granted.body}")
        too_early = self._pipeline.check(name, GENERATE, collected={"at": _now()})
        self._tell.answered(f"the owner of {name} says yes to what the notice showed; asked at once: "
                            f"{too_early['decision']}, {too_early['reasons'][0]['code']}")  # fmt: skip
        self._tell.holds("a yes does not begin before the policy does", too_early["decision"], "deny")
        new = self._wait_for_permit(name, begins)
        old = self._pipeline.check(name, GENERATE, collected={"at": rfc3339(begins - timedelta(days=30))})
        silent = self._pipeline.check(self._partner.workspace, GENERATE, collected={"at": _now()})
        self._tell.answered(
            f"version 4 in force. Data of now: {new['decision']}. Data of last month: {old['decision']}, "
            f"{', '.join(reason['code'] for reason in old['reasons'])}\n"
            f"somebody who said nothing: {silent['decision']}, {silent['reasons'][0]['code']}"
        )
        self._tell.holds("what is collected after the yes is permitted", new["decision"], "permit")
        self._tell.holds("what was collected before is still denied", old["decision"], "deny")
        self._tell.holds("silence is no yes", silent["reasons"][0]["code"], "opt_in_missing")
        self._tell.matters("nothing that is widened later reaches back")

    def _wait_for_permit(self, workspace: str, begins: datetime) -> dict[str, Any]:
        """The check of data of now, once it permits; as it is 15 s after `begins`."""
        while True:
            answer = self._pipeline.check(workspace, GENERATE, collected={"at": _now()})
            late = datetime.now(UTC) > begins + timedelta(seconds=LIVE_SECONDS_MAX)
            if answer["decision"] == "permit" or late:
                return answer
            time.sleep(0.1)

    # -- 8 ---------------------------------------------------------------------------------------------------

    def _others(self) -> None:
        """An ordinary member stops global training only; an anonymous one stops nothing."""
        everything = {"selector": {"all": True}, "channel": "form"}
        member, nobody = self._members.workspace, self._anonymous.workspace
        self._tell.asked(f"a proven member of {member} fills in the form: out of everything")
        plausible = {"applicant": {"role": "member", "authority": "plausible"}}
        answer = self._staff.post(f"/v1/workspaces/{member}/opt-outs", everything | plausible)
        _require(answer.status == 202, f"the opt-out was answered {answer.status}: {answer.body}")
        shared = self._pipeline.check(member, TRAIN, collected={"at": _now()})
        own = self._pipeline.check(member, OWN, collected={"at": _now()})
        self._tell.answered(f"{TRAIN}: {shared['decision']}; {OWN}: {own['decision']}")
        self._tell.holds("it stops at once what would reach others", shared["decision"], "deny")
        self._tell.holds(
            "and not the workspace's own model, until the owner decides", own["decision"], "permit"
        )
        self._tell.asked(f"somebody without a name asks the same for {nobody}")
        unverified = {"applicant": {"role": "unknown", "authority": "unverified"}}
        answer = self._staff.post(f"/v1/workspaces/{nobody}/opt-outs", everything | unverified)
        _require(answer.status == 202, f"the opt-out was answered {answer.status}: {answer.body}")
        self._nobodys = answer.body
        check = self._pipeline.check(nobody, TRAIN, collected={"at": _now()})
        self._tell.answered(
            f"{TRAIN}: {check['decision']}; the request is open, due "
            f"{(answer.body.get('dueAt') or 'when the policy says')[:10]}: the owners are asked"
        )
        self._tell.holds("who proves nothing stops nothing", check["decision"], "permit")
        self._tell.holds("nothing is denied by it", answer.body.get("deniedSince") or "", "")
        waiting = {one["request"] for one in self._open_requests(answer.body["request"])}
        self._tell.holds("the request waits for the owners all the same", answer.body["request"] in waiting)
        self._tell.matters("one person can stop what harms them, and nobody can stop a competitor")

    def _open_requests(self, wanted: str) -> list[dict[str, Any]]:
        """The open requests, once the one wanted is among them; as they are after 5 s."""
        deadline = time.monotonic() + KEY_SECONDS_MAX
        while True:
            found: list[dict[str, Any]] = self._staff.get("/v1/requests?state=open&limit=1000").body[
                "requests"
            ]
            if any(one["request"] == wanted for one in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    # -- 9 ---------------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        """The same answers, nothing lost."""
        before, position = self._asked_again(), self._position()
        count = self._stage.kill()
        self._tell.asked(
            f"kill -9 of all {count} processes: PostgreSQL, NATS, the ledger, the projector, the publisher, "
            "consent-local"
        )
        seconds = self._stage.start()
        self._connect()
        after = self._asked_again()
        self._tell.answered(f"ready again after {seconds:.1f} s, at event {self._position()}")
        self._tell.holds("not one event is lost", self._position(), position)
        for who, told in before.items():
            self._tell.holds(f"{who}: {told[0]} ({told[1]}), as before", after[who], told)
        self._tell.matters("what was answered was durable before it was answered")

    def _asked_again(self) -> dict[str, tuple[str, str]]:
        """The answers that must survive, by who asks them for what."""
        questions = (
            (self._hers, TRAIN, "her training"),
            (self._hers, SERVE, "her serving"),
            (self._opts_in, GENERATE, "the opt-in"),
            (self._members, TRAIN, "the member's training"),
            (self._members, OWN, "the member's own model"),
            (self._anonymous, TRAIN, "the anonymous one's training"),
        )
        answers = (
            (who, self._pipeline.check(one.workspace, key, collected={"at": _now()}))
            for one, key, who in questions
        )
        return {who: (answer["decision"], answer["reasons"][0]["code"]) for who, answer in answers}

    def _position(self) -> str:
        position: str = self._auditor.get("/v1/policies").body["token"].rsplit("/", 1)[1]
        return position

    # -- 10 --------------------------------------------------------------------------------------------------

    def _audit(self) -> None:
        """Permit then, under version 2; deny now, by an event."""
        name, run = self._hers.workspace, self._before
        collected = {"at": rfc3339(_moment(run["ledgerTime"]) - timedelta(days=1))}
        self._tell.asked(
            f"check {TRAIN} with knownAt {run['token']} and asOf {run['ledgerTime'][:19]}Z: what did the run "
            "of step 3 know?"
        )
        then = self._auditor.check(
            name, TRAIN, collected=collected, knownAt=run["token"], asOf=run["ledgerTime"]
        )
        now = self._auditor.check(name, TRAIN, collected=collected)
        event = now["reasons"][0]["position"]
        self._tell.answered(
            f"when step 3 ran: {then['decision']}, at position {then['token'].rsplit('/', 1)[1]}, under "
            f"version {then['policyVersion']}\nnow: {now['decision']}, by event {event}"
        )
        self._tell.holds("the run was right to use her data", then["decision"], "permit")
        self._tell.holds("it stood under version 2", then["policyVersion"], run["policyVersion"])
        self._tell.holds("it stood on the position that it kept", then["token"], run["token"])
        self._tell.holds("the same question is denied today", now["decision"], "deny")
        why = run_consent(
            ["why", name, TRAIN], self._url, self._credentials["keys"]["auditor"], self._folder / "replica"
        )
        _require(why.exit_code == 1, f"`consent why` ended with {why.exit_code}: {why.printed}")
        self._tell.asked(f"consent why {name} {TRAIN}")
        changes = [step for step in why.printed["steps"] if step["changed"]]
        self._tell.answered("\n".join(map(_told_step, changes)))
        turned = [step["event"]["sequence"].lstrip("0") for step in changes if _is_denied_opt_out(step)]
        self._tell.holds("and the events themselves say why", event in turned)
        self._tell.matters("“what did we know when run R started?” has an answer, with a position, for ever")


def _is_ordinary(customer: Customer) -> bool:
    """A customer in the European Union who is on by default and belongs to nobody else."""
    return (
        customer.is_on
        and customer.plan == "business"
        and customer.region == "eu"
        and not customer.organisation
        and customer.since < TRAINING_BEGAN
    )


def _is_denied_opt_out(step: dict[str, Any]) -> bool:
    kind: str = step["event"]["type"]
    return step["answer"]["decision"] == "deny" and kind.startswith("opt-out")


def _told_step(step: dict[str, Any]) -> str:
    event, answer = step["event"], step["answer"]
    kind = event["type"].rpartition(".v")[0]
    return f"event {event['sequence'].lstrip('0')}: {kind} → {answer['decision']}, {answer['standing']}"


def _summed(reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by code, most rows first."""
    rows: dict[str, int] = {}
    for one in reasons:
        rows[one["code"]] = rows.get(one["code"], 0) + one["rows"]
    return [{"code": code, "rows": count} for code, count in sorted(rows.items(), key=lambda item: -item[1])]


def _rows(told: dict[str, Any], code: str) -> int:
    return sum(one["rows"] for one in told["reasons"] if one["code"] == code)


def _count_alone(table: pa.Table, workspace: str) -> int:
    """In how many rows the workspace is the only owner."""
    owners = table["workspace_ids"]
    return sum(1 for names in owners.to_pylist() if names == [workspace])


def _now() -> str:
    return rfc3339(datetime.now(UTC))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ServerError(otherwise)
