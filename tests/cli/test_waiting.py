"""Commands that wait for a ledger: they say for what, and do not wait for what does not come."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from consent_command import Ran, consent, consent_process
from consent_gate.commands import waiting
from consent_gate.signatures import Signer
from faulty import KEY, PURPOSE, TOKEN, Feed, halves, serving
from gate_ledger import page, signed

OTHER = Signer("consent.other/feed", bytes(range(32)))
SECONDS = "4"


@pytest.fixture
def feed() -> Iterator[Feed]:
    with serving(halves(4)[0]) as made:
        yield made


@pytest.fixture(autouse=True)
def rows(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("w\nw000\nw001\n")


def settings(feed: Feed, **more: str) -> dict[str, str]:
    return {"CONSENT_URL": feed.url, "CONSENT_TOKEN": TOKEN, "CONSENT_FEED_KEY": KEY} | more


def filtered(*words: str, **environment: str) -> Ran:
    return consent(
        "filter", "in.csv", "out.csv", "--column", "w", "--purpose", PURPOSE, *words, **environment
    )


def no_output() -> bool:
    return not list(Path().glob("*out.csv*"))


def test_given_another_feed_key_when_anything_needs_the_feed_then_it_says_so_at_once(feed: Feed) -> None:
    wrong = str(OTHER.verifier)
    for words in (
        ("filter", "in.csv", "out.csv", "--column", "w", "--purpose", PURPOSE),
        ("filter", "in.csv", "--column", "w", "--purpose", PURPOSE, "--lost-since", "1"),
        ("check", "w000", "--purpose", PURPOSE, "--with", "in.csv"),
    ):
        ran = consent(*words, **settings(feed, CONSENT_FEED_KEY=wrong))
        assert ran.code == 2 and "[wrong_key]" in ran.err and "consent-ledger keys feed" in ran.err, ran
        assert KEY.split("+")[1] in ran.err and wrong.split("+")[1] in ran.err, "both keys are named"
        assert "waiting" not in ran.err and no_output()


def test_given_a_key_that_changes_while_a_command_waits_then_it_ends_early(feed: Feed) -> None:
    """The first look is answered as it should be, and whoever answers then is another."""
    answer = feed.answer

    def answer_once(path: str, authorization: str) -> tuple[int, bytes]:
        told = answer(path, authorization)
        if feed.asked > 1 and told[0] == 200:
            return 200, signed(page(feed.ledger, 0), OTHER)
        return told

    feed.answer = answer_once  # type: ignore[method-assign]
    ran = filtered("--wait", "600", **settings(feed))
    assert ran.code == 2 and "[wrong_key]" in ran.err and no_output()


def test_given_a_key_that_is_taken_away_while_a_command_waits_then_it_ends_early(feed: Feed) -> None:
    answer = feed.answer

    def answer_once(path: str, authorization: str) -> tuple[int, bytes]:
        told = answer(path, authorization)
        feed.tokens = set()
        return told

    feed.answer = answer_once  # type: ignore[method-assign]
    ran = filtered("--wait", "600", **settings(feed))
    assert ran.code == 2 and "[unauthenticated]" in ran.err and no_output()


def test_given_another_log_at_the_address_than_the_replica_follows_then_it_ends_early(feed: Feed) -> None:
    assert filtered(**settings(feed)).code == 0
    answer = feed.answer

    def answer_as_another(path: str, authorization: str) -> tuple[int, bytes]:
        if "after=0" in path:
            return answer(path, authorization)
        return 409, msgspec.json.encode({"code": "other_origin", "detail": "this is consent.other/ledger"})

    feed.answer = answer_as_another  # type: ignore[method-assign]
    ran = filtered("--overwrite", "--wait", "600", **settings(feed))
    assert ran.code == 2 and "[other_origin]" in ran.err and "consent.other/ledger" in ran.err, ran


def test_given_a_ledger_that_says_not_now_then_the_command_says_what_it_waits_for(feed: Feed) -> None:
    feed.down = True
    ran = filtered("--wait", SECONDS, **settings(feed))
    assert ran.code == 2 and "[unavailable]" in ran.err and no_output()
    told = [line for line in ran.err.splitlines() if "waiting for the ledger" in line]
    assert len(told) == 1 and feed.url in told[0] and "down" in told[0] and "gives up in" in told[0]


def test_given_a_ledger_that_falls_silent_then_the_command_says_what_it_waits_for(feed: Feed) -> None:
    answer = feed.answer

    def answer_once(path: str, authorization: str) -> tuple[int, bytes]:
        told = answer(path, authorization)
        feed.down = True
        return told

    feed.answer = answer_once  # type: ignore[method-assign]
    ran = filtered("--wait", SECONDS, **settings(feed))
    assert ran.code == 2 and "[stale]" in ran.err and no_output()
    assert ran.err.count("waiting for the ledger") == 1 and "catching_up" in ran.err


def test_given_a_ledger_that_comes_while_a_patient_command_waits_then_it_is_done(feed: Feed) -> None:
    feed.down = True

    def come() -> None:
        time.sleep(1.5)
        feed.down = False

    coming = threading.Thread(target=come)
    coming.start()
    ran = filtered("--wait", "60", **settings(feed))
    coming.join()
    assert ran.code == 0 and Path("out.csv").read_text() == "w\nw000\n", ran


def test_given_nobody_at_the_address_then_the_command_ends_at_once_unless_it_was_told_to_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    environment = {"CONSENT_URL": nowhere, "CONSENT_TOKEN": TOKEN}
    ran = filtered(**environment)
    assert ran.code == 2 and "refused" in ran.err and "waiting" not in ran.err
    ran = filtered("--wait", "2", **environment)
    assert ran.code == 2 and "waiting for the ledger" in ran.err and "[unavailable]" in ran.err


@pytest.mark.parametrize("status", [(200, b"<html>"), (404, b"no"), (302, b"")])
def test_given_something_else_at_the_address_then_the_command_ends(
    feed: Feed, status: tuple[int, bytes]
) -> None:
    feed.answer = lambda path, authorization: status  # type: ignore[method-assign]
    ran = filtered(**settings(feed))
    assert ran.code == 2 and "does not speak as a consent ledger" in ran.err and no_output()


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e99", "soon", ""])
def test_given_a_wait_that_is_none_then_wrong_usage(feed: Feed, text: str) -> None:
    assert filtered("--wait", text, **settings(feed)).code == 2
    assert feed.asked == 0


def test_given_a_wait_where_nothing_is_waited_for_then_wrong_usage(feed: Feed) -> None:
    ran = consent("check", "w000", "--purpose", PURPOSE, "--wait", "3", **settings(feed))
    assert ran.code == 2 and "--wait is for --with" in ran.err


def test_given_a_terminal_then_one_line_is_written_over_and_taken_away(feed: Feed) -> None:
    feed.down = True
    shown, terminal = pty.openpty()
    words = ["filter", "in.csv", "out.csv", "--column", "w", "--purpose", PURPOSE, "--wait", SECONDS]
    command = [str(Path(sys.executable).with_name("consent")), *words]
    environment = os.environ | settings(feed)
    try:
        running = subprocess.Popen(
            command, env=environment, stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL
        )
        os.close(terminal)
        told = b"".join(iter(lambda: _read(shown), b"")).decode()
        assert running.wait(60) == 2
    finally:
        os.close(shown)
    *lines, last = told.split("\r\x1b[K")
    waited = [line for line in lines if "waiting" in line]
    assert len(waited) >= 2 and len(set(waited)) == len(waited), "only what changed is written"
    assert not any("\n" in line for line in lines) and "[unavailable]" in last


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65_536)
    except OSError:  # the other end is closed
        return b""


def test_given_a_key_of_the_feed_when_status_is_asked_then_it_says_whether_it_fits(feed: Feed) -> None:
    answer = feed.answer

    def answer_all(path: str, authorization: str) -> tuple[int, bytes]:
        if path == "/health/ready":
            return 200, msgspec.json.encode({"ready": True})
        return (200, b"{}") if path == "/v1/policies" else answer(path, authorization)

    feed.answer = answer_all  # type: ignore[method-assign]
    ran = consent("status", "--json", **settings(feed))
    assert (ran.code, ran.told["feedKey"]) == (0, "fits")
    ran = consent("status", "--json", **settings(feed, CONSENT_FEED_KEY=str(OTHER.verifier)))
    assert ran.code == 2 and ran.told["feedKey"].startswith("wrong_key: ")
    ran = consent("status", "--json", **settings(feed, CONSENT_FEED_KEY=""))
    assert (ran.code, ran.told["feedKey"]) == (0, "not given")


def test_given_reasons_that_change_all_the_time_then_no_flood(capsys: Any) -> None:
    with waiting.Waiting("http://ledger.test", 60) as line:
        line._begun -= 5
        for number in range(1_000):
            line.tell(f"reason {number}")
    assert capsys.readouterr().err.count("\n") == 1


def test_given_a_shell_then_the_exit_code_is_that_of_undecided(feed: Feed) -> None:
    wrong = settings(feed, CONSENT_FEED_KEY=str(OTHER.verifier))
    ran = consent_process("filter", "in.csv", "out.csv", "--column", "w", "--purpose", PURPOSE, **wrong)
    assert ran.code == 2 and "[wrong_key]" in ran.err
