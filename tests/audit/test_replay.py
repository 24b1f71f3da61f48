"""A replay folds nothing that is not proven, comes to the ledger's own facts, and says what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consent_command import Ran, consent
from consent_domain import commands
from consent_domain.decide import Collected, decide
from consent_domain.events import Scope
from consent_domain.instants import DAY, SECOND, micros, parse_rfc3339, rfc3339
from consent_gate.audit.replay import Asked, Replay
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trees import VerifiedTree
from ledger_events import START, history, opt_out
from scenario import Ledger, at, enrolled, opt_in, policy, purpose, rule, rules, workspace
from scenario import opt_out as ask_to_opt_out
from served_logs import TOKEN, served
from signed_logs import KEY, STRANGER, SignedLog, encoded, lawful


def tree_of(entries: list[bytes], folder: Path) -> VerifiedTree:
    log = SignedLog(entries)
    return VerifiedTree(FolderSource(log.write(folder)), log.checkpoint)


def replayed(entries: list[bytes], folder: Path, **asked: Any) -> Replay:
    found = Replay(tree_of(entries, folder), Asked(len(entries), **asked), lambda done, total: None)
    found.whole()
    return found


@contextmanager
def replaying(entries: list[bytes], folder: Path) -> Iterator[Callable[..., Ran]]:
    """`consent replay` of a live log of these entries."""
    with served(SignedLog(entries), folder / "served") as live:
        yield lambda *words: consent("replay", live.url, *map(str, words), "--key", KEY, "--token", TOKEN)


def a_story() -> Ledger:
    """acme of the organisation corp is on by default, objects, is opted in, and is merged into globex."""
    ledger = enrolled(rules=rules(purposes=(purpose(), purpose("serve", processing="serve"))))
    ledger.given(workspace("globex", organisation="corp"), workspace("other"))
    ledger.given(ask_to_opt_out("train"))
    ledger.given(commands.ProcessOptOut(request=ledger.request()))
    ledger.wait(DAY)
    ledger.given(opt_in("train"))
    corp = ask_to_opt_out("serve", scope=ledger_scope("corp"))
    ledger.given(corp)
    ledger.given(commands.SucceedWorkspace(workspace="globex", predecessor="acme", kind="merge"))
    ledger.given(ask_to_opt_out("train", scope=ledger_scope("other", "workspace")))
    return ledger


def ledger_scope(name: str, kind: str = "organisation") -> Scope:
    return Scope(kind=kind, id=name)


# -- nothing that is not proven ------------------------------------------------------------------------------


def test_an_event_that_was_changed_stops_the_replay_before_it_is_folded(tmp_path: Path) -> None:
    entries = lawful(300)
    log = SignedLog(entries)
    folder = log.write(tmp_path / "log")
    bundle = folder / "tile/entries/001.p/44"
    bundle.write_bytes(bundle.read_bytes()[:-1] + b" ")
    with served(log, tmp_path / "served") as live:
        live.folder = folder
        ran = consent("replay", live.url, "--json", **live.settings())
    assert ran.code == 1
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["position"] for line in lines[:-1]] == list(range(1, 257))
    assert lines[-1]["result"] == "bad"
    assert "event 300" in lines[-1]["detail"]


def test_an_event_out_of_order_stops_the_replay_although_the_log_signed_it(tmp_path: Path) -> None:
    entries = lawful(20)
    entries[9], entries[10] = entries[10], entries[9]
    with replaying(entries, tmp_path) as replay:
        ran = replay("--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(lines), lines[-1]["result"]) == (1, 10, "bad")
    assert "event 10 has the sequence" in lines[-1]["detail"]


def test_another_key_or_none_replays_nothing(tmp_path: Path, exported: Path) -> None:
    ran = consent("replay", str(exported), "--key", str(STRANGER.verifier))
    assert (ran.code, ran.out) == (1, "")
    ran = consent("replay", str(exported))
    assert (ran.code, ran.out) == (2, "")


def test_an_event_that_cannot_be_read_quarantines_its_stream_and_ends_with_1(tmp_path: Path) -> None:
    entries = lawful(40)
    stream = json.loads(entries[9])["subject"]
    name = stream.partition("/")[2]
    entries[9] = entries[9].replace(b'"data":{', b'"data":{"surprise":true,')
    with replaying(entries, tmp_path) as replay:
        ran = replay("--json")
        assert ran.code == 1
        *steps, last = [json.loads(line) for line in ran.out.splitlines()]
        assert "cannot be read" in steps[9]["quarantined"]
        assert last["summary"]["quarantined"][0]["position"] == 10
        assert last["summary"]["events"] == 40, "what comes behind it is folded all the same"
        told = replay("--workspace", name, "--json").out.splitlines()[-1]
        for decision in json.loads(told)["summary"]["standing"].values():
            assert decision["decision"] == "deny"
        ran = replay("--summary")
        assert "QUARANTINED event 10" in ran.out


def test_an_unknown_type_is_passed_over_only_if_it_changes_no_standing(tmp_path: Path) -> None:
    for effect, code in (("none", 0), ("standing", 1)):
        entries = lawful(20)
        stored = json.loads(entries[5])
        entries[5] = entries[5].replace(stored["type"].encode(), b"observed.v9")
        entries[5] = entries[5].replace(
            f'"effect":"{stored["effect"]}"'.encode(), f'"effect":"{effect}"'.encode()
        )
        with replaying(entries, tmp_path / effect) as replay:
            ran = replay("--summary")
        assert ran.code == code, ran
        assert ("observed.v9" in ran.out) == (code == 1) or effect == "none"


def test_a_history_that_no_handler_could_have_written_is_said(tmp_path: Path) -> None:
    drafts = [*list(history(10)), opt_out("workspace/never-enrolled", "r")]
    with replaying(encoded(drafts), tmp_path) as replay:
        ran = replay("--summary")
    assert (ran.code, "cannot have happened" in ran.out) == (1, True)


# -- the same facts ------------------------------------------------------------------------------------------


def test_a_replay_comes_to_the_facts_that_the_ledger_came_to(tmp_path: Path) -> None:
    ledger = a_story()
    folded = replayed(ledger.log, tmp_path).folded
    assert folded.book == ledger.book
    for name in ("acme", "globex", "other", "nobody"):
        assert folded.workspace(name) == ledger.workspace(name)
    assert folded.organisation("corp") == ledger.organisation("corp")
    assert folded.wrong == []


@pytest.mark.parametrize("name", ["acme", "globex", "other"])
def test_a_replay_of_one_workspace_decides_as_a_replay_of_all(tmp_path: Path, name: str) -> None:
    ledger = a_story()
    for until in range(5, len(ledger.log) + 1):
        log = ledger.log[:until]
        all_of_it = replayed(log, tmp_path / f"{until}-all").folded
        one = replayed(log, tmp_path / f"{until}-one", workspace=name).folded
        now = micros(at(ledger.now))
        for key in ("train", "serve", "nothing"):
            for then in (now, now - DAY, now - 2 * DAY):
                asked = ([name], key, (), now, Collected(then, then))
                assert decide(one, *asked) == decide(all_of_it, *asked), (until, key, then)


def test_the_last_standing_is_what_a_check_answers(tmp_path: Path) -> None:
    ledger = a_story()
    with replaying(ledger.log, tmp_path) as replay:
        told = json.loads(replay("--workspace", "acme", "--json").out.splitlines()[-1])["summary"]
    for key in ("train", "serve"):
        decision = ledger.decide("acme", key)
        assert told["standing"][key]["decision"] == ("permit" if decision.permit else "deny")
        assert told["standing"][key]["standing"] == decision.standing
        assert [one["code"] for one in told["standing"][key]["reasons"]] == [
            one.code for one in decision.reasons
        ]


# -- what is told --------------------------------------------------------------------------------------------


def test_every_event_is_told_with_what_it_changed(tmp_path: Path) -> None:
    ledger = a_story()
    with replaying(ledger.log, tmp_path) as replay:
        ran = replay("--json")
        words = replay()
    assert (ran.code, words.code) == (0, 0)
    *steps, last = [json.loads(line) for line in ran.out.splitlines()]
    assert [json.dumps(step["event"]) for step in steps] == [
        json.dumps(json.loads(entry)) for entry in ledger.log
    ]
    by_type = {step["event"]["type"]: step for step in steps}
    enrolment = next(one for one in steps if one["event"]["subject"] == "workspace/acme")
    change = next(one for one in enrolment["changed"] if one["purpose"] == "train")
    assert (change["before"]["decision"], change["after"]["standing"]) == ("deny", "defaulted_on")
    asked = next(one for one in steps if one["event"]["type"] == "opt-out-requested.v1")["changed"]
    assert [(one["purpose"], one["after"]["standing"]) for one in asked] == [("train", "opt_out_requested")]
    assert by_type["opt-out-processed.v1"]["changed"][0]["after"]["standing"] == "opted_out"
    assert last["summary"]["result"] == "good"
    assert "→ acme, train: permit (defaulted_on) → deny (opt_out_requested)" in words.out
    assert words.out.splitlines()[-1].startswith("each was proven before it was folded: the log")


def test_a_workspace_hears_of_what_concerns_it_and_of_nothing_else(tmp_path: Path) -> None:
    ledger = a_story()
    with replaying(ledger.log, tmp_path) as replay:
        told = [json.loads(line) for line in replay("--workspace", "globex", "--json").out.splitlines()[:-1]]
    subjects = {step["event"]["subject"].rpartition("/")[0] for step in told}
    names = {step["event"]["subject"].rpartition("/")[2] for step in told}
    assert {"workspace", "organisation", "policy"} <= subjects
    assert "other" not in names
    corp = next(step for step in told if step["event"]["type"] == "opt-out-requested.v1")
    assert [(one["workspace"], one["purpose"]) for one in corp["changed"]] == [("globex", "serve")]


def test_what_changes_because_time_passes_is_told(tmp_path: Path) -> None:
    ledger = enrolled()
    later = ledger.now + 9 * DAY
    ledger.given(policy("2", effective=later, direction="stricter", rules=rules(rule("prohibited"))))
    ledger.wait(10 * DAY)
    ledger.given(workspace("other"), ask_to_opt_out("train"))
    with replaying(ledger.log, tmp_path) as replay:
        words = replay("--workspace", "acme").out
        steps = [json.loads(line) for line in replay("--workspace", "acme", "--json").out.splitlines()[:-1]]
    assert "since then, because time passed: acme, train: permit (defaulted_on) → deny (prohibited" in words
    assert [step["passed"] != [] for step in steps].count(True) == 1


@pytest.mark.parametrize("purpose_asked", ["serve", "nothing.such"])
def test_one_purpose_alone(tmp_path: Path, purpose_asked: str) -> None:
    with replaying(a_story().log, tmp_path) as replay:
        lines = replay("--purpose", purpose_asked, "--json").out.splitlines()[:-1]
    found = {change["purpose"] for line in lines for change in json.loads(line)["changed"]}
    assert found <= {purpose_asked}


def test_until_a_position_or_a_time(tmp_path: Path) -> None:
    entries = lawful(300)
    time = json.loads(entries[99])["time"]
    with replaying(entries, tmp_path) as replay:
        for until in (100, time, rfc3339(parse_rfc3339(time) + SECOND - 1)):
            told = json.loads(replay("--summary", "--json", "--until", until).out)["summary"]
            assert told["events"] == 100, until
        before = rfc3339(micros(START))
        assert json.loads(replay("--summary", "--json", "--until", before).out)["summary"]["events"] == 0
        for until, code in ((0, "not_found"), (301, "beyond_checkpoint"), ("yesterday", "invalid_time")):
            ran = replay("--until", until)
            assert (ran.code, ran.out, code in ran.err) == (2, "", True)


def test_an_export_that_begins_later_is_refused_and_one_that_ends_earlier_is_not(tmp_path: Path) -> None:
    with served(SignedLog(lawful(600)), tmp_path / "served") as live:
        for first, last, name in ((300, 310, "late"), (1, 310, "early")):
            words = ("export", "--from", str(first), "--to", str(last), name)
            assert consent(*words, **live.settings()).code == 0
    ran = consent("replay", "late", "--key", KEY)
    assert (ran.code, "begins at event 300" in ran.err) == (2, True)
    told = consent("replay", "early", "--key", KEY, "--summary", "--json").told["summary"]
    assert (told["events"], told["size"]) == (310, 600)
    assert consent("replay", "early", "--key", KEY, "--until", "311").code == 2


def test_an_empty_log_replays_to_nothing(tmp_path: Path) -> None:
    with replaying([], tmp_path) as replay:
        ran = replay()
    assert (ran.code, "replayed 0 events" in ran.out) == (0, True)


def test_what_an_event_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    entries = lawful(20)
    entries[0] = entries[0].replace(b'"title":"Principles"', b'"title":"\\u001b[2J[red]"')
    with replaying(entries, tmp_path) as replay:
        ran = replay()
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "[red]" in ran.out


def test_the_standing_at_a_time_is_that_times_and_never_a_guess_about_the_future(tmp_path: Path) -> None:
    ledger = enrolled()
    between = ledger.now + DAY
    ledger.given(policy("2", effective=between, direction="stricter", rules=rules(rule("prohibited"))))
    ledger.wait(3 * DAY)
    ledger.given(workspace("other"))
    log = ledger.log
    with replaying(log, tmp_path / "a") as replay:
        words = ("--workspace", "acme", "--summary", "--json", "--until")
        for until, standing in ((between - 1, "defaulted_on"), (between, "prohibited")):
            told = json.loads(replay(*words, rfc3339(until)).out)["summary"]
            assert told["standing"]["train"]["standing"] == standing
    with replaying(log[:-2], tmp_path / "b") as replay:
        told = json.loads(replay(*words, rfc3339(between + 100 * DAY)).out)["summary"]
        assert told["standing"]["train"]["standing"] == "defaulted_on", "the log may go on differently"
