"""Given runs that used somebody's data, when consent ends, then what came of them is due and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from registered import OWNER, PURPOSE, Registry


async def due(ledger: Registry, by: str = "auditor", **of: str) -> list[dict[str, Any]]:
    """What is due, by the API."""
    await ledger.projected()
    answer = await ledger.call.done("GET", "/v1/obligations", by, params=of)
    listed: list[dict[str, Any]] = answer["obligations"]
    return listed


async def objections(ledger: Registry, by: str = "auditor", **of: str) -> list[dict[str, Any]]:
    """What is to be reviewed, by the API."""
    await ledger.projected()
    answer = await ledger.call.done("GET", "/v1/obligations", by, params=of)
    listed: list[dict[str, Any]] = answer["objections"]
    return listed


def outputs_of(found: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """The runs and outputs of obligations or objections, and whether they are open."""
    return [(one["run"], out.get("uri", ""), out["open"]) for one in found for out in one["outputs"]]


async def discharge(ledger: Registry, run: str, through: str | None = None, **more: Any) -> dict[str, Any]:
    body = {
        "action": "retrained",
        "through": through or await ledger.token(),
        "evidence": "Ticket 4711: done.",
        **more,
    }
    told = await ledger.call.done("POST", f"/v1/runs/{run}/discharge", "pipeline", json=body)
    await ledger.projected()
    return told


async def test_given_no_objection_then_nothing_is_due(ledger: Registry) -> None:
    await ledger.enrol("content")
    await ledger.register("content-run", ["content"])
    assert await due(ledger, workspace="content") == []
    assert await due(ledger, run="content-run") == []


async def test_given_an_opt_out_that_reaches_everything_then_datasets_are_to_be_purged_and_models_retrained(
    ledger: Registry,
) -> None:
    await ledger.enrol("w1")
    await ledger.register("r1", ["acme", "w1"])
    told = await ledger.opt_out("w1")
    (one,) = await due(ledger, workspace="w1", open="true")
    assert (one["run"], one["via"], one["because"], one["request"]) == (
        "r1",
        "r1",
        "opt_out",
        told["request"],
    )
    assert one["dueAt"] == told["dueAt"]
    assert [(out["action"], out["uri"], out["open"]) for out in one["outputs"]] == [
        ("purge", "s3://r1", True),
        ("retrain", "models:/r1", True),
    ]
    assert [item["run"] for item in await due(ledger, run="r1")] == ["r1"]
    assert await due(ledger, workspace="acme") == []


@pytest.mark.parametrize(
    ("reach", "actions"), [((), []), (("models",), ["retrain"]), (("everything",), ["purge", "retrain"])]
)
async def test_given_what_an_opt_out_reaches_then_no_more_is_due_and_an_unknown_word_spares_nothing(
    ledger: Registry, reach: tuple[str, ...], actions: list[str]
) -> None:
    name = f"reach{len(actions)}"
    await ledger.enrol(name)
    await ledger.register(f"run-{name}", [name])
    await ledger.opt_out(name, reach)
    found = await due(ledger, workspace=name)
    assert [out["action"] for one in found for out in one["outputs"]] == actions


async def test_given_runs_that_followed_then_their_outputs_are_due_too_however_far(ledger: Registry) -> None:
    await ledger.enrol("root")
    await ledger.register("gen0", ["root"])
    await ledger.register("gen1", ["acme"], parents=["gen0"])
    await ledger.register("gen2", [], parents=["gen1", "gen0"])
    await ledger.register("beside", ["acme"])
    await ledger.opt_out("root")
    found = await due(ledger, workspace="root")
    assert [(one["run"], one["via"]) for one in found] == [
        ("gen0", "gen0"),
        ("gen1", "gen0"),
        ("gen2", "gen0"),
    ]
    assert [one["workspace"] for one in await due(ledger, run="gen2")] == ["root"]
    assert await due(ledger, run="beside") == []


@pytest.mark.parametrize("objects", ["before", "heir"])
async def test_given_data_that_went_to_an_heir_when_either_objects_then_runs_on_either_ones_data_are_due(
    ledger: Registry, objects: str
) -> None:
    old, heir = f"{objects}.before", f"{objects}.heir"
    await ledger.enrol(old)
    await ledger.register(f"{objects}-early", [old])
    await ledger.enrol(heir)
    path = f"/v1/workspaces/{heir}/succeed"
    await ledger.call.done("POST", path, json={"predecessor": old, "kind": "split"})
    await ledger.register(f"{objects}-late", [heir])
    assert await due(ledger, workspace=old) == await due(ledger, workspace=heir) == []
    claimant = f"{objects}.{objects}"
    await ledger.opt_out(claimant)
    wanted = {(f"{objects}-early", old, claimant), (f"{objects}-late", heir, claimant)}
    for asked in (old, heir):
        found = await due(ledger, workspace=asked, open="true")
        assert {(one["run"], one["workspace"], one["claimedBy"]) for one in found} == wanted
    for run, used, _ in wanted:
        (one,) = await due(ledger, run=run)
        assert (one["workspace"], one["claimedBy"]) == (used, claimant)


async def test_given_an_owner_of_one_of_two_who_share_data_then_it_is_told_of_its_own_data_alone(
    ledger: Registry,
) -> None:
    await ledger.enrol("elder", "elder.heir")
    body = {"predecessor": "elder", "kind": "split"}
    await ledger.call.done("POST", "/v1/workspaces/elder.heir/succeed", json=body)
    await ledger.register("elders-run", ["elder"])
    await ledger.register("heirs-run", ["elder.heir"])
    await ledger.opt_out("elder.heir")
    assert len(await due(ledger, workspace="elder")) == 2
    (told,) = await due(ledger, "workspace/elder", workspace="elder")
    assert (told["run"], told["claimedBy"]) == ("elders-run", "elder.heir")


async def test_given_a_discharge_then_what_was_due_is_done_and_what_becomes_due_later_is_not(
    ledger: Registry,
) -> None:
    await ledger.enrol("first", "second")
    await ledger.register("shared", ["first", "second"])
    await ledger.opt_out("first")
    stale = await ledger.token()
    await ledger.opt_out("second")
    await discharge(ledger, "shared", through=stale)
    assert await due(ledger, workspace="first", open="true") == []
    (one,) = await due(ledger, workspace="second", open="true")
    assert one["open"] is True
    await discharge(ledger, "shared", outputs=["models:/shared"])
    (one,) = await due(ledger, workspace="second", open="true")
    assert [out["open"] for out in one["outputs"]] == [True, False]
    await discharge(ledger, "shared", action="purged", outputs=["s3://shared"])
    assert await due(ledger, workspace="second", open="true") == []
    assert len(await due(ledger, workspace="second")) == 1
    run = await ledger.call.done("GET", "/v1/runs/shared")
    assert [one["action"] for one in run["discharges"]] == ["retrained", "retrained", "purged"]


async def test_given_a_run_that_names_no_outputs_then_it_is_due_until_it_is_discharged_as_a_whole(
    ledger: Registry,
) -> None:
    await ledger.enrol("bare")
    await ledger.register("bare-run", ["bare"], outputs=[])
    await ledger.opt_out("bare")
    (one,) = await due(ledger, workspace="bare", open="true")
    assert [out.get("uri") for out in one["outputs"]] == [None]
    await discharge(ledger, "bare-run", action="not_affected")
    assert await due(ledger, workspace="bare", open="true") == []


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"action": "ignored"}, "invalid_value"),
        ({"outputs": ["s3://somebody-elses"]}, "invalid_value"),
        ({"evidence": ""}, "invalid_value"),
        ({"evidence": "", "evidenceSha256": "ab"}, "invalid_value"),
        ({"evidence": "x", "evidenceSha256": "ab" * 32}, "invalid_value"),
        ({"through": "consent.test/ledger/1/999999999"}, "invalid_token"),
        ({"through": "consent.test/ledger/2/1"}, "invalid_token"),
        ({"through": "consent.test/ledger/1/1"}, "invalid_value"),
    ],
)
async def test_given_a_discharge_that_says_what_cannot_be_then_refused(
    ledger: Registry, more: dict[str, Any], code: str
) -> None:
    if (await ledger.call("GET", "/v1/runs/plain")).status_code != 200:
        await ledger.register("plain", ["acme"])
    body = {"action": "purged", "through": await ledger.token(), "evidence": "done", **more}
    answer = await ledger.call("POST", "/v1/runs/plain/discharge", "pipeline", json=body)
    assert answer.json()["code"] == code, answer.text


async def test_given_a_discharge_of_a_run_that_nobody_knows_then_unknown_run(ledger: Registry) -> None:
    body = {"action": "purged", "through": await ledger.token(), "evidence": "done"}
    answer = await ledger.call("POST", "/v1/runs/unheard/discharge", "pipeline", json=body)
    assert answer.json()["code"] == "unknown_run"


async def test_given_an_opt_out_that_was_taken_back_then_nothing_is_due(ledger: Registry) -> None:
    await ledger.enrol("undecided")
    await ledger.register("undecided-run", ["undecided"])
    told = await ledger.opt_out("undecided")
    assert len(await due(ledger, workspace="undecided")) == 1
    await ledger.call.done("POST", f"/v1/requests/{told['request']}/withdraw", json={"applicant": OWNER})
    assert await due(ledger, workspace="undecided") == []


async def test_given_an_opt_out_whose_authority_nobody_proved_then_nothing_is_due_until_it_is(
    ledger: Registry,
) -> None:
    await ledger.enrol("doubtful")
    await ledger.register("doubtful-run", ["doubtful"])
    body = {
        "selector": {"all": True},
        "applicant": {"role": "member", "authority": "unverified"},
        "reach": ["models"],
    }
    told = await ledger.call.done("POST", "/v1/workspaces/doubtful/opt-outs", json=body)
    assert await due(ledger, workspace="doubtful") == []
    proven = {"authority": "verified"}
    await ledger.call.done("POST", f"/v1/requests/{told['request']}/acknowledge", json=proven)
    assert [one["run"] for one in await due(ledger, workspace="doubtful")] == ["doubtful-run"]


async def test_given_an_opt_in_that_was_withdrawn_then_what_it_permitted_is_due(ledger: Registry) -> None:
    await ledger.enrol("willing")
    keys = {"keys": ["assistant.train"], "applicant": OWNER}
    asked = await ledger.call.done("POST", "/v1/workspaces/willing/opt-ins", json=keys)
    notice = {"givenAt": "2026-01-01T00:00:00Z", "channel": "console"}
    grant = {"applicant": OWNER, "notice": notice, "coversCollectedBefore": True}
    await ledger.call.done("POST", f"/v1/opt-ins/{asked['optIn']}/grant", json=grant)
    await ledger.register("assistant", ["willing"], purpose="assistant.train")
    await ledger.register("ranker", ["willing"])
    await ledger.call.done("POST", f"/v1/opt-ins/{asked['optIn']}/withdraw", json={"applicant": OWNER})
    (one,) = await due(ledger, workspace="willing")
    assert (one["run"], one["because"]) == ("assistant", "opt_in_withdrawn")


async def test_given_a_workspace_that_was_erased_then_everything_of_it_is_due(ledger: Registry) -> None:
    await ledger.enrol("gone")
    await ledger.register("gone-run", ["gone"])
    for by in ("admin", "second admin"):
        await ledger.call.done("POST", "/v1/workspaces/gone/erase", by, json={"reason": "GDPR art. 17"})
    (one,) = await due(ledger, workspace="gone")
    assert (one["because"], len(one["outputs"])) == ("erased", 2)
    assert [item["workspace"] for item in await due(ledger, run="gone-run")] == ["gone"]


async def test_given_an_organisations_opt_out_then_it_is_due_for_all_its_workspaces(ledger: Registry) -> None:
    await ledger.call.done("POST", "/v1/organisations", json={"organisation": "group"})
    await ledger.enrol("m1", "m2", organisation="group")
    await ledger.register("group-run", ["acme", "m1", "m2"])
    body = {"selector": {"all": True}, "applicant": OWNER, "reach": ["models"]}
    await ledger.call.done("POST", "/v1/organisations/group/opt-outs", json=body)
    for name in ("m1", "m2"):
        assert [one["run"] for one in await due(ledger, workspace=name)] == ["group-run"]
    assert {one["workspace"] for one in await due(ledger, run="group-run")} == {"m1", "m2"}


# -- who may see what ----------------------------------------------------------------------------------------


async def test_given_an_owner_then_it_sees_its_own_and_not_what_things_are_called_inside(
    ledger: Registry,
) -> None:
    await ledger.register("with-other", ["other"])
    await ledger.opt_out("other")
    (one,) = await due(ledger, "workspace/other", workspace="other", open="true")
    assert all("uri" not in out for out in one["outputs"])
    mine = {"workspace": "other"}
    (run,) = (await ledger.call.done("GET", "/v1/runs", "workspace/other", params=mine))["runs"]
    assert "outputs" not in run and "code" not in run
    for path in ("/v1/runs", "/v1/obligations", "/v1/runs/with-other/explain"):
        other = await ledger.call("GET", path, "workspace/acme", params=mine)
        assert other.json()["code"] == "unknown_workspace", path
    for path in ("/v1/runs", "/v1/obligations"):
        assert (await ledger.call("GET", path, "workspace/other")).status_code in (400, 403), path
    of_run = await ledger.call("GET", "/v1/obligations", "workspace/other", params={"run": "with-other"})
    assert of_run.status_code in (400, 403)


# -- which runs, and why -------------------------------------------------------------------------------------


async def test_given_a_workspace_then_the_runs_that_used_it_are_listed_in_pages(ledger: Registry) -> None:
    await ledger.enrol("used", "unused")
    for number in range(3):
        await ledger.register(f"used-{number}", ["used", "acme"])
    seen, after = [], "0"
    while after:
        page = await ledger.call.done(
            "GET", "/v1/runs", params={"workspace": "used", "after": after, "limit": "2"}
        )
        seen += [run["run"] for run in page["runs"]]
        after = page.get("next", "")
    assert seen == ["used-0", "used-1", "used-2"]
    nothing = await ledger.call.done("GET", "/v1/runs", params={"workspace": "unused"})
    assert nothing == {"runs": []}
    other = await ledger.call.done(
        "GET", "/v1/runs", params={"workspace": "used", "purpose": "ranking.serve"}
    )
    assert other["runs"] == []
    unknown = await ledger.call("GET", "/v1/runs", params={"workspace": "nobody"})
    assert unknown.json()["code"] == "unknown_workspace"


async def test_given_a_run_when_explained_then_it_says_what_permitted_then_and_what_denies_now(
    ledger: Registry,
) -> None:
    await ledger.enrol("asked")
    await ledger.register("explained", ["asked"])
    await ledger.opt_out("asked")
    told = await ledger.call.done("GET", "/v1/runs/explained/explain", params={"workspace": "asked"})
    assert (told["used"], told["then"]["decision"], told["now"]["decision"]) == (True, "permit", "deny")
    assert told["then"]["reasons"][0]["code"] == "defaulted_on"
    assert told["now"]["reasons"][0]["code"] == "opt_out_requested"
    assert told["changedAt"]
    assert told["purpose"] == PURPOSE
    unused = await ledger.call.done("GET", "/v1/runs/explained/explain", params={"workspace": "acme"})
    assert (unused["used"], unused["now"]["decision"]) == (False, "permit")


# -- recipients ----------------------------------------------------------------------------------------------


async def test_given_a_recipient_then_what_it_applied_goes_on_and_never_back(ledger: Registry) -> None:
    async def applied(token: str) -> dict[str, Any]:
        answer = await ledger.call(
            "POST", "/v1/recipients/partner/applied", "pipeline", json={"token": token}
        )
        told: dict[str, Any] = answer.json()
        return told

    before = await ledger.token()
    assert (await applied(before))["status"] == "applied"
    end = await ledger.token()
    assert (await applied(before))["applied"] == before.rpartition("/")[2]
    assert await ledger.token() == end, "what is known already is not recorded again"
    assert (await applied(end))["status"] == "applied"
    assert (await applied(before))["code"] == "wrong_state"
    (one,) = (await ledger.call.done("GET", "/v1/recipients", "auditor"))["recipients"]
    assert (one["recipient"], one["applied"], one["behind"]) == ("partner", end.rpartition("/")[2], "1")
    ahead = f"{end.rpartition('/')[0]}/99999999"
    assert (await applied(ahead))["code"] == "invalid_token"


# -- objections for which nothing is due ---------------------------------------------------------------------


async def test_given_an_opt_out_that_reaches_nothing_then_nothing_is_due_and_its_runs_are_to_be_reviewed(
    ledger: Registry,
) -> None:
    await ledger.enrol("quiet")
    await ledger.register("quiet-run", ["quiet", "acme"])
    assert await objections(ledger, run="quiet-run") == []
    told = await ledger.opt_out("quiet", ())
    for of in ({"run": "quiet-run"}, {"workspace": "quiet"}):
        assert await due(ledger, **of) == []
        (one,) = await objections(ledger, **of, open="true")
        assert (one["workspace"], one["because"], one["request"]) == ("quiet", "opt_out", told["request"])
        assert outputs_of([one]) == [
            ("quiet-run", "s3://quiet-run", True),
            ("quiet-run", "models:/quiet-run", True),
        ]
        assert {out["action"] for out in one["outputs"]} == {"review"} and "dueAt" not in one
    assert await objections(ledger, workspace="acme") == []


async def test_given_an_opt_out_that_reaches_models_then_the_data_sets_are_to_be_reviewed(
    ledger: Registry,
) -> None:
    await ledger.enrol("partial")
    await ledger.register("partial-run", ["partial"])
    await ledger.opt_out("partial", ["models"])
    assert outputs_of(await due(ledger, run="partial-run")) == [("partial-run", "models:/partial-run", True)]
    assert outputs_of(await objections(ledger, run="partial-run")) == [
        ("partial-run", "s3://partial-run", True)
    ]


async def test_given_a_run_that_names_no_outputs_when_nothing_is_reached_then_review_and_nothing_due(
    ledger: Registry,
) -> None:
    await ledger.enrol("nameless")
    await ledger.register("nameless-run", ["nameless"], outputs=[])
    await ledger.opt_out("nameless", ())
    assert await due(ledger, run="nameless-run") == []
    assert outputs_of(await objections(ledger, run="nameless-run")) == [("nameless-run", "", True)]


async def test_given_a_member_whose_opt_out_denies_and_is_not_proven_then_it_is_to_be_reviewed(
    ledger: Registry,
) -> None:
    await ledger.enrol("hearsay", "member")
    await ledger.register("member-run", ["member", "hearsay"])
    for name, authority in (("member", "plausible"), ("hearsay", "unverified")):
        body = {
            "selector": {"all": True},
            "applicant": {"role": "member", "authority": authority},
            "reach": ["models"],
        }
        await ledger.call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=body)
    assert await due(ledger, run="member-run") == []
    (one,) = await objections(ledger, run="member-run")
    assert (one["workspace"], one["because"]) == ("member", "opt_out_requested")


async def test_given_an_objection_when_it_was_reviewed_or_taken_back_then_it_is_open_no_more(
    ledger: Registry,
) -> None:
    await ledger.enrol("reviewed")
    await ledger.register("reviewed-run", ["reviewed"])
    told = await ledger.opt_out("reviewed", ())
    assert len(await objections(ledger, run="reviewed-run", open="true")) == 1
    await discharge(ledger, "reviewed-run", action="not_affected")
    assert await objections(ledger, run="reviewed-run", open="true") == []
    (one,) = await objections(ledger, run="reviewed-run")
    assert one["open"] is False
    await ledger.call.done("POST", f"/v1/requests/{told['request']}/withdraw", json={"applicant": OWNER})
    assert await objections(ledger, run="reviewed-run") == []


async def test_given_runs_that_followed_when_nothing_is_reached_then_they_are_to_be_reviewed_too(
    ledger: Registry,
) -> None:
    await ledger.enrol("source")
    await ledger.register("source-run", ["source"])
    await ledger.register("derived-run", ["acme"], parents=["source-run"])
    await ledger.opt_out("source", ())
    assert {one["run"] for one in await objections(ledger, workspace="source")} == {
        "source-run",
        "derived-run",
    }
    (one,) = await objections(ledger, run="derived-run")
    assert (one["workspace"], one["via"]) == ("source", "source-run")


async def test_given_an_owner_then_it_sees_its_own_objections_and_not_what_things_are_called_inside(
    ledger: Registry,
) -> None:
    await ledger.enrol("reserved")
    await ledger.register("reserved-run", ["reserved"])
    await ledger.opt_out("reserved", ())
    (one,) = await objections(ledger, "workspace/reserved", workspace="reserved")
    assert [out.get("uri", "") for out in one["outputs"]] == ["", ""]


@pytest.mark.parametrize("reach", [(), ("models",)])
async def test_given_who_objects_to_what_a_later_run_was_for_then_that_run_is_concerned_and_not_the_first(
    ledger: Registry, reach: tuple[str, ...]
) -> None:
    """Its data came there as an output of a run for another purpose, to which it does not object."""
    name = f"later{len(reach)}"
    await ledger.enrol(name)
    await ledger.register(f"{name}-first", [name])
    later = {"purpose": "assistant.train", "parents": [f"{name}-first"]}
    await ledger.register(f"{name}-second", [], **later)
    body = {"selector": {"keys": ["assistant.train"]}, "applicant": OWNER, "reach": list(reach)}
    await ledger.call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=body)
    concerned = [f"{name}-second"]
    for of in ({"workspace": name}, {"run": f"{name}-second"}):
        assert [one["run"] for one in await due(ledger, **of)] == (concerned if reach else [])
        assert [one["run"] for one in await objections(ledger, **of)] == concerned
    assert await due(ledger, run=f"{name}-first") == await objections(ledger, run=f"{name}-first") == []


async def test_given_more_objections_than_an_answer_holds_then_it_says_so_and_leaves_out_nothing_that_is_due(
    ledger: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_ledger.runs.obligations.OBLIGATIONS_MAX", 2)
    names = [f"many{number}" for number in range(5)]
    await ledger.enrol(*names)
    await ledger.register("many-first", names)
    await ledger.register("many-run", names, parents=["many-first"])
    for name in names:
        await ledger.opt_out(name, ())
    await ledger.projected()

    async def asked() -> dict[str, Any]:
        return await ledger.call.done("GET", "/v1/obligations", "auditor", params={"run": "many-run"})

    told = await asked()
    assert (told["obligations"], len(told["objections"]), told["objectionsMore"]) == ([], 2, True)
    assert not told.get("more")
    last = names[-1]
    await ledger.call.done("POST", f"/v1/workspaces/{last}/opt-outs", json=ALL_OF_IT)
    await ledger.projected()
    told = await asked()
    assert [one["workspace"] for one in told["obligations"]] == [last] and told["objectionsMore"]


ALL_OF_IT = {"selector": {"all": True}, "applicant": OWNER, "reach": ["datasets", "models"]}
