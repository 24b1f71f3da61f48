"""Given every route and every role, when called, then it is as this table says, and denied otherwise."""

from __future__ import annotations

import pytest
from consent_domain import commands
from consent_domain.commands import ImportCommand, LiveCommand
from consent_ledger.http.description import operations_of
from consent_ledger.http.permissions import COMMAND_ROLES
from consent_ledger.http.routes import routes
from http_service import Caller, Service

PEOPLE = {"a": "admin", "u": "unsealing auditor", "p": "pipeline", "o": "workspace/acme"}
TABLE = """
check                   a u p o
checkBatch              a u p -
enrolWorkspace          a - - -
readWorkspace           a u - o
changeWorkspace         a - - -
closeWorkspace          a - - -
succeedWorkspace        a - - -
eraseWorkspace          a - - -
readHistory             a u - o
wasEverOptedIn          a u - o
optWorkspaceOut         a - - o
requestWorkspaceOptIn   a - - o
listOrganisations       a u - o
readOrganisation        a u - o
registerOrganisation    a - - -
optOrganisationOut      a - - o
requestOrganisationOptIn a - - o
listRequests            a u - o
readRequest             a u - o
acknowledgeOptOut       a - - o
requireActionForOptOut  a - - -
delayOptOut             a - - -
processOptOut           a - - -
rejectOptOut            a - - -
withdrawOptOut          a - - o
grantOptIn              a - - o
refuseOptIn             a - - o
withdrawOptIn           a - - o
listPolicies            a u p o
publishPolicy           a - - -
keepText                a - - -
readText                a u p o
listPurposes            a u p o
suspendPurpose          a - - -
resumePurpose           a - - -
registerRun             a - p -
listRuns                a u p o
readRun                 a u p -
explainRun              a u p o
dischargeRun            a - p -
listObligations         a u p o
listRecipients          a u p -
recipientApplied        a - p -
runCommands             a - - o
importHistory           a - - -
findPerson              a - - -
erasePerson             a - - -
readEvents              - u - -
proveEvent              - u - o
readEntries             - u - -
readEntriesOfEpoch      - u - -
publishCheckpoint       a u - -
unsealEvent             - u - -
listUnsealings          - u - -
followFeed              - - p -
readSnapshotNote        - - p -
readSnapshot            - - p -
"""
ALLOWED = {line.split()[0]: set(line.split()[1:]) - {"-"} for line in TABLE.strip().splitlines()}
PUBLIC = {
    "isLive", "isReady", "metrics", "description", "descriptionPage", "readLog",
    *(f"{name}{epoch}" for epoch in ("", "OfEpoch") for name in (
        "readCheckpoint", "readWitnessedCheckpoint", "readLogKeys", "readTile",
    )),
}  # fmt: skip
ROUTES = sorted(operations_of(routes()), key=lambda found: found[:2])
_PATHS = {
    "{workspace}": "acme",
    "{organisation}": "group",
    "{purpose}": "no.such",
    "{request_id}": "none",
    "{person}": "00" * 32,
    "{sha256}": "00" * 32,
    "{run}": "none",
    "{recipient}": "none",
    "{position}": "999999999",
    "{epoch}": "2",
    "{level}": "0",
    "{number}": "000",
}


def address(path: str) -> str:
    for name, value in (*_PATHS.items(), ("{opt_in}", "none")):
        path = path.replace(name, value)
    return path


def test_given_the_table_when_compared_with_the_routes_then_it_names_each_once() -> None:
    assert {operation.id for _, _, operation in ROUTES} == ALLOWED.keys() | PUBLIC


def test_given_every_command_when_looked_up_then_somebody_may_give_it() -> None:
    known = {*LiveCommand.__args__, *ImportCommand.__args__}  # type: ignore[attr-defined]
    of_their_own_routes = {commands.RegisterRun, commands.DischargeRun, commands.NotifyRecipient}
    assert COMMAND_ROLES.keys() == known | of_their_own_routes


@pytest.mark.parametrize(("path", "method", "name"), [(p, m, o.id) for p, m, o in ROUTES])
async def test_given_a_route_when_every_role_calls_it_then_only_those_of_the_table_get_in(
    service: Service, path: str, method: str, name: str
) -> None:
    # What is sent is no command, so that whoever gets in changes nothing.
    for caller in (service.call, service.behind):
        nobody = await _try(caller, method, address(path), None)
        assert (nobody == 401) == (name not in PUBLIC), f"{name} without a key"
        for letter, who in PEOPLE.items():
            status = await _try(caller, method, address(path), who)
            may = name in PUBLIC or letter in ALLOWED[name]
            assert (status == 403) == (not may), f"{name} by {who}: {status}"
            assert status != 401 and status < 500, f"{name} by {who}: {status}"


async def _try(call: Caller, method: str, path: str, by: str | None) -> int:
    if method == "GET":
        return (await call(method, path, by)).status_code
    return (await call(method, path, by, json={"no such member": 1})).status_code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, "unauthenticated"),
        ({"authorization": "Basic YTpi"}, "unauthenticated"),
        ({"authorization": "Bearer "}, "unauthenticated"),
        ({"authorization": "Bearer ck_a_00000000_0000000000000000000000000000"}, "unauthenticated"),
    ],
)
async def test_given_no_key_or_a_wrong_one_when_called_then_401_says_how_to_send_it(
    service: Service, header: dict[str, str], code: str
) -> None:
    for caller in (service.call, service.behind):
        for method, path in (("POST", "/v1/check"), ("GET", "/v1/policies")):
            answer = await caller(method, path, None, headers=header)
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_given_a_key_with_one_character_changed_when_called_then_it_is_refused(call: Caller) -> None:
    key = call.keys["admin"]
    for index in (4, 6, 20, len(key) - 1):
        changed = key[:index] + ("x" if key[index] != "x" else "y") + key[index + 1 :]
        answer = await call("GET", "/v1/policies", None, headers={"authorization": f"Bearer {changed}"})
        assert answer.status_code == 401
        assert changed not in answer.text


OTHERS = [
    ("GET", "/v1/workspaces/other", None),
    ("GET", "/v1/workspaces/other/history", None),
    ("GET", "/v1/workspaces/other/ever?purpose=ranking.train", None),
    ("GET", "/v1/workspaces/other?asOf=2026-01-31T09:00:00Z", None),
    ("GET", "/v1/organisations/group", None),
    ("GET", "/v1/organisations/no-such", None),
    ("GET", "/v1/workspaces/no-such", None),
    ("POST", "/v1/workspaces/other/opt-outs", {"selector": {"all": True}}),
    ("POST", "/v1/workspaces/other/opt-ins", {"keys": ["assistant.train"]}),
    ("POST", "/v1/organisations/group/opt-outs", {"selector": {"all": True}}),
    ("POST", "/v1/check", {"workspace": "other", "purpose": "ranking.train"}),
    ("POST", "/v1/check", {"workspaces": ["acme", "other"], "purpose": "ranking.train"}),
]


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
async def test_given_an_owner_when_it_names_another_tenant_then_404_as_if_there_were_none(
    service: Service, method: str, path: str, body: dict[str, object] | None
) -> None:
    for caller in (service.call, service.behind):
        answer = await caller(method, path, "workspace/acme", **({"json": body} if body else {}))
        assert answer.status_code == 404, answer.text
        assert answer.json()["code"] in ("unknown_workspace", "unknown_organisation")


async def test_given_an_owner_when_it_sends_commands_for_others_then_each_is_refused_by_itself(
    call: Caller,
) -> None:
    choice = {"command": "request-opt-out", "selector": {"all": True}}
    batch = [
        {**choice, "scope": {"kind": "workspace", "id": "other"}},
        {**choice, "scope": {"kind": "person", "id": "acme"}},
        {"command": "close-workspace", "workspace": "acme", "reason": "left"},
        {"command": "enrol-workspace", "workspace": "new", "plan": "business", "region": "eu"},
    ]
    told = await call.done("POST", "/v1/commands", "workspace/acme", json={"commands": batch})
    codes = [verdict["code"] for verdict in told["verdicts"]]
    assert codes == ["unknown_workspace", "unsupported_scope", "forbidden", "forbidden"]


async def test_given_another_tenants_request_when_an_owner_touches_it_then_404(call: Caller) -> None:
    told = await call.done(
        "POST", "/v1/workspaces/other/opt-outs", "workspace/other", json={"selector": {"all": True}}
    )
    path = f"/v1/requests/{told['request']}"
    for method, where in (("GET", path), ("POST", f"{path}/withdraw"), ("POST", f"{path}/acknowledge")):
        answer = await call(method, where, "workspace/acme", **({"json": {}} if method == "POST" else {}))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_request"), answer.text
    listed = await call.done("GET", "/v1/requests", "workspace/acme")
    assert told["request"] not in [one["request"] for one in listed["requests"]]
    withdrawn = await call.done("POST", f"{path}/withdraw", "workspace/other", json={})
    assert withdrawn["state"] == "withdrawn"


async def test_given_an_owner_when_it_claims_what_only_staff_may_say_then_403(call: Caller) -> None:
    for member in ({"receivedAt": "2020-01-01T00:00:00Z"}, {"onBehalfOf": "somebody"}):
        answer = await call(
            "POST",
            "/v1/workspaces/acme/opt-outs",
            "workspace/acme",
            json={"selector": {"all": True}, **member},
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
