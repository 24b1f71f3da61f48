"""Given a gate that is offline by name, then it permits what its snapshot does while its clocks agree."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import polars
import pytest
from consent_domain.commands import GrantOptIn
from consent_domain.errors import ConsentError
from consent_domain.instants import DAY, SECOND, Micros, moment_of
from consent_gate import reader
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.signatures import Signer
from consent_gate.watched import Withdrawal
from scenario import (
    ORIGIN,
    OWNER,
    Ledger,
    enrolled,
    notice,
    opt_in,
    opt_out,
    policy,
    rule,
    rules,
    scope,
    workspace,
)
from snapshot_files import KEY, note_beside, snapshot_of, until_now

HOUR = 3_600.0


class Clock:
    """The host's clock, which a test sets. The boot clock goes on by itself."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("consent_gate.offline.wall_nanoseconds", found.time_ns)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "consent-gate"


@pytest.fixture
def ledger() -> Ledger:
    """A log whose last event was recorded a minute ago."""
    return until_now(enrolled().given(workspace("other"), opt_out(scope=scope("other"))))


def opened(path: Path, **more: Any) -> Gate:
    return Gate.offline(path, **({"verifier_key": KEY, "purpose": "train", "max_age": HOUR} | more))


def code(gate: Gate, name: str = "acme") -> str:
    answer = gate.check(name)
    assert not answer
    assert not any(gate.check_many([name]).permitted)
    with pytest.raises(ConsentError, match="stale"):
        gate.job()
    return answer.reasons[0].code


# -- what it answers -----------------------------------------------------------------------------------------


def test_given_a_snapshot_that_is_young_enough_then_it_answers_and_says_what_it_stands_on(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    with opened(path) as gate:
        answer = gate.check("acme")
        assert answer and not gate.check("other") and not gate.check("nobody")
        assert gate.check_many(["acme", "other", "nobody"]).permitted == [True, False, False]
        assert answer.token == f"{ORIGIN}/1/{len(ledger.log)}"
        assert answer.ledger_time == moment_of(ledger.now)
        assert answer.staleness is not None and 60 <= answer.staleness < 120
        status = gate.status()
        assert status.state == "live"
        assert status.why.startswith("offline") and gate.snapshot is not None
        assert gate.snapshot.note.sha256 in status.why


def test_given_an_opt_out_after_the_snapshot_then_only_its_age_bounds_what_it_does_not_know(
    ledger: Ledger, tmp_path: Path
) -> None:
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        ledger.given(opt_out())
        assert gate.check("acme")
        assert not gate.check("acme", max_staleness=30)
        assert not gate.check("acme", at_least=len(ledger.log))


def test_given_a_job_offline_then_its_report_says_so(ledger: Ledger, tmp_path: Path) -> None:
    frame = polars.DataFrame({"w": ["acme", "other", None, "nobody"]})
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        result = gate.filter(frame, "w")
        assert result.data["w"].to_list() == ["acme"]
        said = result.report().as_json()
        assert gate.snapshot is not None
        assert said["offline"]["snapshotSha256"] == gate.snapshot.note.sha256  # type: ignore[index]
        assert 60 <= said["offline"]["ageSeconds"] < 120  # type: ignore[index]
        assert result.report().overtaken is None and result.report().spans_withdrawal  # nobody could tell


# -- what changes with time alone ----------------------------------------------------------------------------


def test_given_a_stricter_policy_that_has_begun_since_then_what_it_denies_is_denied(tmp_path: Path) -> None:
    ledger = until_now(enrolled(), 3 * 60)
    begins: Micros = ledger.now + 60 * SECOND
    stricter = policy(
        "2",
        begins,
        direction="stricter",
        why="asked for",
        rules=rules(rule("prohibited")),
        notice=notice(ledger.now),
    )
    with opened(snapshot_of(ledger.given(stricter), tmp_path)) as gate:
        assert code_of(gate) == "stale"


def test_given_an_opt_in_that_has_expired_since_then_it_is_denied_and_others_are_not(tmp_path: Path) -> None:
    ledger = enrolled(rules=rules(rule("opt_in"))).given(workspace("other"))
    until_now(ledger, 3 * 60)
    for name, expires in (("acme", ledger.now + 60 * SECOND), ("other", ledger.now + DAY)):
        grant(ledger, name, expires)
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        assert [bool(gate.check(name, collected=moment_of(ledger.now))) for name in ("acme", "other")] == [
            False,
            True,
        ]
        many = gate.check_many(["acme", "other"], collected=moment_of(ledger.now))
        assert many.permitted == [False, True]
        frame = polars.DataFrame({"w": ["acme", "other"], "t": [moment_of(ledger.now)] * 2})
        assert gate.filter(frame, "w", "t").data["w"].to_list() == ["other"]


def test_given_an_opt_in_that_expires_while_it_is_watched_then_that_is_told(
    tmp_path: Path, clock: Clock
) -> None:
    ledger = until_now(enrolled(rules=rules(rule("opt_in"))).given(workspace("other")), 3 * 60)
    for name, expires in (("acme", ledger.now + 600 * SECOND), ("other", ledger.now + DAY)):
        grant(ledger, name, expires)
    with opened(snapshot_of(ledger, tmp_path)) as gate, gate.watch(["acme", "other"]) as watching:
        assert watching.news() == []
        clock.ahead = 650.0
        time.sleep(0.01)
        assert not gate.check("acme", collected=moment_of(ledger.now))
        (told,) = watching.news()
        assert isinstance(told, Withdrawal)
        assert (told.workspace, told.code, told.partial) == ("acme", "stale", False)
        assert watching.news() == []
        with gate.watch(["acme", "other"]) as another:
            assert [one.workspace for one in another.news() if isinstance(one, Withdrawal)] == ["acme"]


def test_given_a_process_that_is_stopped_while_it_reads_then_it_does_not_answer_for_the_time_before(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = until_now(enrolled(rules=rules(rule("opt_in"))), 3 * 60)
    grant(ledger, "acme", ledger.now + 600 * SECOND)
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        look = reader._view_of

        def stopped(*given: Any) -> Any:
            made = look(*given)
            clock.ahead = 650.0
            return made

        monkeypatch.setattr(reader, "_view_of", stopped)
        gate.check("nobody")
        assert not gate.check("acme", collected=moment_of(ledger.now))


# -- clocks --------------------------------------------------------------------------------------------------


def test_given_a_snapshot_that_grows_too_old_then_it_denies(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with opened(snapshot_of(ledger, tmp_path), max_age=61.0) as gate:
        deadline = time.monotonic() + 10
        assert gate.check("acme") or gate.status().state == "stale"
        while gate.check("acme"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert code(gate) == "stale"
        assert "pull a newer one" in gate.status().why


def test_given_a_host_clock_that_says_more_than_the_boot_clock_then_the_age_that_is_told_is_that(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        assert gate.check("acme", max_staleness=300)
        clock.ahead = 600.0
        answer, many = gate.check("acme"), gate.check_many(["acme"])
        assert answer and answer.staleness is not None and answer.staleness >= 660
        assert many.permitted == [True] and many.staleness is not None and many.staleness >= 660
        assert (gate.status().staleness or 0) >= 660
        assert not gate.check("acme", max_staleness=300)
        assert not any(gate.check_many(["acme"], max_staleness=300).permitted)


def test_given_a_host_clock_that_jumps_ahead_then_it_denies(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        clock.ahead = 2 * HOUR
        assert code(gate) == "halted" and gate.status().state == "halted"


def test_given_a_host_clock_that_steps_back_while_open_then_it_denies_from_then_on(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        assert gate.check("acme")
        clock.ahead = -30.0
        assert code(gate) == "halted"
        clock.ahead = 0.0
        assert code(gate) == "halted" and "stepped back" in gate.status().why


def test_given_a_host_clock_before_the_snapshot_then_there_is_no_gate(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    path = snapshot_of(ledger, tmp_path)
    clock.ahead = -61.0
    with pytest.raises(ConsentError, match=r"stale.*set it"):
        opened(path)
    clock.ahead = 0.0
    with opened(path) as gate:
        clock.ahead = -2 * HOUR
        assert code(gate) == "halted"


def test_given_a_snapshot_from_the_future_then_there_is_no_gate(ledger: Ledger, tmp_path: Path) -> None:
    path = snapshot_of(until_now(ledger, -HOUR), tmp_path)
    with pytest.raises(ConsentError, match="stale"):
        opened(path)


def test_given_a_host_clock_set_back_between_two_openings_then_no_age_is_gained(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    path = snapshot_of(ledger, tmp_path)
    opened(path, max_age=HOUR).close()
    clock.ahead = -59.0
    with opened(path, max_age=30.0) as gate:
        assert code(gate) == "stale"  # the boot clock knows better


@pytest.mark.parametrize("max_age", [0, -1, float("nan"), float("inf")])
def test_given_an_age_that_is_none_then_there_is_no_gate(
    ledger: Ledger, tmp_path: Path, max_age: float
) -> None:
    with pytest.raises(ConsentError, match=r"invalid_value.*max_age"):
        opened(snapshot_of(ledger, tmp_path), max_age=max_age)


def test_given_a_boot_after_the_snapshot_then_its_age_is_right(ledger: Ledger, tmp_path: Path) -> None:
    since_boot = boot_nanoseconds() / 1e9
    path = snapshot_of(until_now(ledger, since_boot + HOUR), tmp_path)
    with opened(path, max_age=since_boot + 2 * HOUR) as gate:
        assert gate.check("acme")
        staleness = gate.status().staleness
        assert staleness is not None and staleness > since_boot + HOUR - 1
        assert gate.check_many(["acme"]).staleness is not None
        gate.job().close()
    with opened(path, max_age=since_boot + HOUR / 2) as gate:
        assert code(gate) == "stale"


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda path: note_beside(path).unlink(), "not_found.*pull the snapshot with its note"),
        (lambda path: path.unlink(), "not_found"),
        (lambda path: note_beside(path).write_bytes(b"nonsense"), "malformed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "proof_invalid.*pull it again"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5] + b"12345"), "proof_invalid.*pull it again"),
    ],
)
def test_given_files_that_are_not_to_be_believed_then_there_is_no_gate_even_if_there_was_one(
    ledger: Ledger, tmp_path: Path, spoil: Any, refusal: str
) -> None:
    path = snapshot_of(ledger, tmp_path)
    opened(path).close()
    spoil(path)
    with pytest.raises(ConsentError, match=refusal):
        opened(path)


def test_given_another_key_or_none_then_there_is_no_gate(ledger: Ledger, tmp_path: Path) -> None:
    path = snapshot_of(ledger, tmp_path)
    with pytest.raises(ConsentError, match="proof_invalid"):
        opened(path, verifier_key=str(Signer(ORIGIN, b"\7" * 32).verifier))
    with pytest.raises(ConsentError, match="other_origin"):
        opened(path, verifier_key=str(Signer("other.test/ledger", b"\7" * 32).verifier))
    with pytest.raises(ConsentError, match="invalid_value"):
        opened(path, verifier_key="nonsense")
    with pytest.raises(TypeError):
        Gate.offline(path, purpose="train", max_age=HOUR)  # type: ignore[call-arg]


# -- processes -----------------------------------------------------------------------------------------------

OTHER = """
import sys
from consent_gate.gate import Gate
with Gate.offline(sys.argv[1], verifier_key=sys.argv[2], purpose="train", max_age=3600.0) as gate:
    print("permit" if gate.check("acme") else "deny", gate.status().state)
"""


def other_process(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path), KEY], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_given_several_processes_at_once_then_one_loads_and_all_answer(
    ledger: Ledger, tmp_path: Path, cache: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    processes = [other_process(path) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].split() for process in processes] == [["permit", "live"]] * 3
    [folder] = cache.glob("offline-*")
    assert len(list(folder.glob("replica-*"))) == 1


def test_given_a_gate_then_it_answers_in_threads_and_after_a_fork(ledger: Ledger, tmp_path: Path) -> None:
    with opened(snapshot_of(ledger, tmp_path)) as gate:
        found: list[bool] = []
        threads = [threading.Thread(target=lambda: found.append(bool(gate.check("acme")))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [True] * 4
        child = os.fork()
        if child == 0:
            os._exit(0 if gate.check("acme") and not gate.check("other") else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert gate.check("acme")


def test_given_replicas_of_older_snapshots_then_those_that_nobody_uses_are_removed(
    ledger: Ledger, tmp_path: Path, cache: Path
) -> None:
    paths = []
    for number in range(3):
        ledger.given(workspace(f"more-{number}"))
        paths.append(snapshot_of(ledger, tmp_path, f"{number}.parquet"))
    opened(paths[0]).close()
    with opened(paths[1]) as used, opened(paths[2]):
        assert len(list(cache.glob("offline-*"))) == 2
        assert used.check("acme")


def test_given_a_replica_that_is_damaged_then_the_next_gate_loads_it_anew(
    ledger: Ledger, tmp_path: Path, cache: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    opened(path).close()
    [data] = cache.glob("offline-*/replica-*/data.mdb")
    whole = data.read_bytes()
    data.write_bytes(whole.replace(b"acme", b"acmf"))
    with opened(path) as gate:
        assert not gate.check("acme") and not gate.check("acmf")
    with opened(path) as gate:
        assert gate.check("acme") or gate.check("acme").reasons[0].code in ("unknown_workspace", "damaged")


def test_given_no_pyarrow_then_it_says_what_to_install(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = snapshot_of(ledger, tmp_path)
    for name in [name for name in sys.modules if name.startswith("consent_gate.snapshots.")]:
        if name.rpartition(".")[2] in ("reading", "columns", "layout"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConsentError, match=r"unavailable.*consent-gate\[snapshot\]"):
        opened(path)


def code_of(gate: Gate) -> str:
    answer = gate.check("acme")
    assert not answer
    return answer.reasons[0].code


def grant(ledger: Ledger, name: str, expires: Micros) -> None:
    ledger.given(opt_in(scope=scope(name)))
    ledger.given(
        GrantOptIn(
            opt_in=ledger.request(), applicant=OWNER, notice=notice(ledger.now), expires_at=moment_of(expires)
        )
    )
