"""A gate in server mode, and a server that lies, breaks, is slow, or is no ledger: never a wrong permit."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from consent_domain.errors import ConsentError
from consent_gate import server_client
from consent_gate.gate import Gate
from consent_gate.server_mode import ServerGate

TOKEN = "ck_p_test"
NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)
Answer = tuple[int, dict[str, str], bytes]


def permit(**changed: Any) -> dict[str, Any]:
    """What a ledger says of a workspace that permits."""
    return {
        "decision": "permit",
        "standing": "defaulted_on",
        "reasons": [{"code": "defaulted_on", "position": "7"}],
        "policyVersion": "1",
        "token": "consent.test/ledger/1/42",
        "ledgerTime": "2026-01-31T09:00:00Z",
        "stalenessMs": 3,
        "permittedCollected": [{"from": "2025-01-01T00:00:00Z"}],
        "decisionId": "abc-1",
        "sentence": "Data of acme may be used.",
    } | changed


def rows(count: int, **changed: Any) -> dict[str, Any]:
    """What a ledger says of `count` workspaces that permit."""
    return {
        "token": "consent.test/ledger/1/42",
        "ledgerTime": "2026-01-31T09:00:00Z",
        "stalenessMs": 3,
        "policyVersion": "1",
        "permitted": [True] * count,
        "reasonCodes": ["defaulted_on"],
        "reasons": [0] * count,
    } | changed


class Server:
    """Answers checks with what `tells` makes of the request's body."""

    def __init__(self) -> None:
        self.tells: Callable[[str, dict[str, Any]], dict[str, Any] | Answer | bytes] = truth
        self.tamper: Callable[[Answer], Answer] = lambda answer: answer
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.slow = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append((self.path, body))
                time.sleep(outer.slow)
                told = outer.tells(self.path, body)
                if isinstance(told, bytes):
                    self.wfile.write(told)
                    self.close_connection = True
                    return
                if isinstance(told, dict):
                    told = 200, {"consent-question": self.headers["consent-question"]}, encode(told)
                status, headers, sent = outer.tamper(told)
                self.send_response(status)
                for name, value in {"content-length": str(len(sent)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def encode(told: Any) -> bytes:
    return json.dumps(told).encode()


def truth(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return rows(len(body["workspaces"])) if path.endswith("batch") else permit()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def gate(server: Server) -> Iterator[ServerGate]:
    with Gate.connect(server.url, TOKEN, purpose="train", mode="server", max_staleness=2) as made:
        assert made.check("acme") and made.check_many(["acme"]).permitted == [True], "or this shows nothing"
        yield made


def never(gate: ServerGate, code: str = "unavailable", **how: Any) -> None:
    """No way of asking gets a yes."""
    answer = gate.check("acme", **how)
    assert (answer.decision, bool(answer)) == ("undecided", False), answer
    assert answer.reasons[0].code == code and answer.windows == () and answer.sentence
    many = gate.check_many(["acme", "second"], **how)
    assert many.permitted == [False, False]


# -- an answer that cannot be --------------------------------------------------------------------------------

LIES: dict[str, dict[str, Any]] = {
    "another decision": {"decision": "allow"},
    "permit in other letters": {"decision": "PERMIT"},
    "a truth value": {"decision": True},
    "nothing decided": {"decision": None},
    "no reasons": {"reasons": []},
    "a reason that denies": {"reasons": [{"code": "opted_out", "position": "7"}]},
    "a reason that denies beside one that permits": {
        "reasons": [{"code": "defaulted_on"}, {"code": "opted_out"}]
    },
    "a reason that nobody knows": {"reasons": [{"code": "because"}]},
    "a position that is none": {"reasons": [{"code": "defaulted_on", "position": "-7"}]},
    "no token": {"token": ""},
    "a token that is none": {"token": "consent.test/ledger/1"},
    "no ledger time": {"ledgerTime": ""},
    "a ledger time without a zone": {"ledgerTime": "2026-01-31T09:00:00"},
    "no age": {"stalenessMs": None},
    "an age before the question": {"stalenessMs": -1},
    "an age that is no number": {"stalenessMs": "3"},
    "windows that are none": {"permittedCollected": []},
    "a window without a beginning": {"permittedCollected": [{"to": "2026-01-01T00:00:00Z"}]},
    "a window without a zone": {"permittedCollected": [{"from": "2026-01-01T00:00:00"}]},
    "a member too many": {"error": "but permit"},
}


@pytest.mark.parametrize("lie", LIES)
def test_given_an_answer_that_cannot_be_then_it_is_none(server: Server, gate: ServerGate, lie: str) -> None:
    server.tells = lambda path, body: {**truth(path, body), **LIES[lie]}
    answer = gate.check("acme")
    assert not answer and answer.decision == "undecided"
    assert answer.reasons[0].code in ("unavailable", "undecided")


@pytest.mark.parametrize(
    "lie",
    [
        {"permitted": [True]},
        {"permitted": [True] * 3},
        {"permitted": [1, 1]},
        {"permitted": ["true", "true"]},
        {"reasons": [0]},
        {"reasons": [0, 1]},
        {"reasons": [0, -1]},
        {"reasonCodes": []},
        {"reasonCodes": ["opted_out"]},
        {"token": ""},
        {"stalenessMs": None},
        {"stalenessMs": -5},
        {"ledgerTime": ""},
        {"more": 1},
    ],
)
def test_given_columns_that_cannot_be_then_no_row_is_permitted(
    server: Server, gate: ServerGate, lie: Any
) -> None:
    server.tells = lambda path, body: {**truth(path, body), **lie}
    assert gate.check_many(["acme", "second"]).permitted == [False, False]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"true",
        b"permit",
        b"[]",
        b"{}",
        b'{"decision":"permit"}',
        b"\xff",
        b"[" * 5_000,
        b"\x00",
    ],
)
def test_given_a_body_that_is_no_answer_then_it_is_none(
    server: Server, gate: ServerGate, body: bytes
) -> None:
    server.tamper = lambda answer: (200, answer[1], body)
    never(gate)


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206, 301, 302, 307, 308, 400, 404, 418, 500, 502])
def test_given_another_status_than_200_then_nothing_is_permitted_and_nobody_is_followed(
    server: Server, gate: ServerGate, status: int
) -> None:
    asked = len(server.asked)
    server.tamper = lambda answer: (
        status,
        {**answer[1], "location": f"{server.url}/elsewhere"},
        b"" if status in (204, 304) else answer[2],
    )
    never(gate)
    assert {path for path, _ in server.asked[asked:]} == {"/v1/check", "/v1/check/batch"}


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, "unauthenticated", "unauthenticated"),
        (403, "forbidden", "forbidden"),
        (503, "overloaded", "overloaded"),
        (503, "unavailable", "unavailable"),
        (500, "internal", "unavailable"),
        (400, "malformed", "malformed"),
        (400, "invalid_time", "malformed"),
        (413, "too_large", "malformed"),
        (200, "forbidden", "unavailable"),
    ],
)
def test_given_a_refusal_then_the_answer_has_its_code_and_says_what_to_do(
    server: Server, gate: ServerGate, status: int, code: str, reason: str
) -> None:
    problem = encode({"code": code, "detail": "do this\r\n\x1b[31m", "type": "about:blank"})
    server.tamper = lambda answer: (status, answer[1], problem)
    never(gate, reason)
    if status != 200:
        assert "do this" in gate.check("acme").sentence
    assert gate.check("acme").sentence.isprintable()


# -- an answer to something else -----------------------------------------------------------------------------


@pytest.mark.parametrize("echo", [None, "", "abc", "0" * 32])
def test_given_an_answer_to_another_question_then_it_is_none(
    server: Server, gate: ServerGate, echo: str | None
) -> None:
    server.tamper = lambda answer: (200, {} if echo is None else {"consent-question": echo}, answer[2])
    never(gate)


def test_given_something_in_between_that_keeps_answers_then_they_are_none(
    server: Server, gate: ServerGate
) -> None:
    kept: dict[int, Answer] = {}

    def keep(answer: Answer) -> Answer:
        return kept.setdefault(len(answer[2]), answer)

    server.tamper = keep
    assert gate.check("acme"), "the first one is its own"
    assert gate.check_many(["acme", "second"]).permitted == [True, True]
    never(gate)


def test_given_another_log_than_before_then_halted(server: Server, gate: ServerGate) -> None:
    server.tells = lambda path, body: {**truth(path, body), "token": "consent.other/ledger/1/42"}
    never(gate, "halted")
    assert gate.status().state == "halted"


def test_given_an_older_epoch_than_before_then_halted(server: Server, gate: ServerGate) -> None:
    """As of a primary that was given up and does not know it: what it lacks may be an opt-out."""
    server.tells = lambda path, body: {**truth(path, body), "token": "consent.test/ledger/2/40"}
    assert gate.check("acme") and gate.check_many(["acme"]).permitted == [True]
    server.tells = lambda path, body: {**truth(path, body), "token": "consent.test/ledger/1/99"}
    never(gate, "halted")


@pytest.mark.parametrize("late", ["consent.test/ledger/1/99", "consent.other/ledger/2/41"])
def test_given_an_answer_of_another_log_or_epoch_that_was_under_way_then_it_does_not_count(
    server: Server, late: str
) -> None:
    """It was asked for when nothing was pinned yet: what is pinned when it comes decides."""
    asked, answered = threading.Event(), threading.Event()

    def tell(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("workspace") != "slow" and "slow" not in body["workspaces"]:
            return {**truth(path, body), "token": "consent.test/ledger/2/40"}
        asked.set()
        answered.wait(20)
        return {**truth(path, body), "token": late}

    server.tells = tell
    for ask in (lambda gate: gate.check("slow"), lambda gate: gate.check_many(["slow"])):
        asked.clear()
        answered.clear()
        told: list[Any] = []
        with Gate.connect(server.url, TOKEN, purpose="train", mode="server", max_staleness=30) as gate:
            slow = threading.Thread(target=lambda: told.append(ask(gate)))  # noqa: B023 (joined below)
            slow.start()
            assert asked.wait(20)
            assert gate.check("acme").token == "consent.test/ledger/2/40"
            answered.set()
            slow.join()
            (answer,) = told
            assert answer.permitted in (False, [False]), answer
            assert gate.status().token == "consent.test/ledger/2/40"
        answered.set()


def test_given_a_fork_while_another_thread_notes_an_answer_then_the_child_does_not_hang(
    gate: ServerGate,
) -> None:
    with gate._server._lock:
        child = os.fork()
        if child == 0:
            threading.Timer(20, os._exit, (2,)).start()
            os._exit(0 if gate.check("acme") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_given_a_window_that_does_not_hold_the_time_asked_about_then_it_is_no_permit(
    server: Server, gate: ServerGate
) -> None:
    early = datetime(2024, 12, 31, tzinfo=UTC)
    assert gate.check("acme", collected=NOW)
    assert gate.check("acme", collected=early).decision == "undecided"
    assert gate.check("acme", collected=(early, NOW)).decision == "undecided"
    until = {"permittedCollected": [{"from": "2025-01-01T00:00:00Z", "to": "2026-01-31T09:00:00Z"}]}
    server.tells = lambda path, body: permit(**until)
    assert gate.check("acme", collected=NOW).decision == "undecided"
    assert gate.check("acme", collected=NOW - timedelta(microseconds=1))


def test_given_a_question_then_it_is_sent_whole(server: Server, gate: ServerGate) -> None:
    gate.check(["acme", "second"], categories=["messages"], collected=(NOW, NOW), max_staleness=1.5)
    path, body = server.asked[-1]
    assert path == "/v1/check" and body == {
        "purpose": "train",
        "workspaces": ["acme", "second"],
        "categories": ["messages"],
        "collected": {"from": "2026-01-31T09:00:00Z", "to": "2026-01-31T09:00:00Z"},
        "maxStalenessMs": 1500,
    }
    gate.check("acme", at_least=40)
    assert server.asked[-1][1]["atLeast"] == "consent.test/ledger/1/40"


# -- age -----------------------------------------------------------------------------------------------------


def test_given_an_answer_that_is_older_than_allowed_then_stale(server: Server, gate: ServerGate) -> None:
    server.tells = lambda path, body: {**truth(path, body), "stalenessMs": 2_001}
    never(gate, "stale")
    server.tells = lambda path, body: {**truth(path, body), "stalenessMs": 900}
    assert gate.check("acme")
    never(gate, "stale", max_staleness=0.8)


def test_given_an_answer_that_takes_its_time_then_its_age_counts_from_asking(
    server: Server, gate: ServerGate
) -> None:
    server.slow = 0.3
    never(gate, "stale", max_staleness=0.2)
    answer = gate.check("acme")
    assert answer and answer.staleness is not None and answer.staleness >= 0.3


def test_given_a_position_before_the_one_asked_for_then_stale(server: Server, gate: ServerGate) -> None:
    assert gate.check("acme", at_least=42)
    never(gate, "stale", at_least=43)


@pytest.mark.parametrize("code", ["stale", "halted", "catching_up", "undecided", "malformed", "new_code"])
def test_given_the_ledger_cannot_decide_then_undecided_with_its_reason(
    server: Server, gate: ServerGate, code: str
) -> None:
    nothing = {"decision": "undecided", "reasons": [{"code": code}], "token": "", "ledgerTime": ""}
    none = {"permitted": [False, False], "reasonCodes": [code], "token": "", "stalenessMs": None}

    def tell(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**rows(2), **none} if path.endswith("batch") else permit(**nothing, permittedCollected=[])

    server.tells = tell
    never(gate, code if code != "new_code" else "undecided")


# -- a connection that breaks --------------------------------------------------------------------------------


def test_given_a_connection_that_was_closed_while_idle_then_it_is_asked_once_more(
    server: Server, gate: ServerGate
) -> None:
    broken = 1

    def tell(path: str, body: dict[str, Any]) -> Any:
        nonlocal broken
        broken -= 1
        return b"" if broken >= 0 else truth(path, body)

    server.tells = tell
    assert gate.check("acme")
    assert len(server.asked) == 4, "two before, one that broke, one that did not"


def test_given_a_server_that_always_breaks_off_then_it_is_asked_twice_and_no_more(
    server: Server, gate: ServerGate
) -> None:
    before = len(server.asked)
    server.tells = lambda path, body: b""
    assert gate.check("acme").reasons[0].code == "unavailable"
    assert len(server.asked) - before == server_client.TRIES_MAX == 2


def test_given_an_answer_that_is_cut_off_then_it_is_none(server: Server, gate: ServerGate) -> None:
    server.tamper = lambda answer: (
        200,
        {**answer[1], "content-length": str(len(answer[2]) + 10), "connection": "close"},
        answer[2],
    )
    server.tells = lambda path, body: (
        b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n" + encode(truth(path, body))
    )
    never(gate)


def test_given_an_answer_without_an_end_then_it_is_given_up(server: Server, gate: ServerGate) -> None:
    huge = b" " * (2 << 20)
    server.tamper = lambda answer: (200, answer[1], huge + answer[2])
    never(gate)


def test_given_an_answer_that_comes_byte_by_byte_then_it_is_given_up_in_time() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drop_by_drop, args=(connection,), daemon=True).start()

    def drop_by_drop(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b" ")
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Gate.connect(url, TOKEN, purpose="train", mode="server", max_staleness=0.5) as gate:
        assert gate.check("acme").reasons[0].code == "unavailable"
    ended.set()
    listener.close()


def test_given_no_server_then_undecided_and_when_it_is_there_permitted(server: Server) -> None:
    with Gate.connect(server.url, TOKEN, purpose="train", mode="server") as gate:
        server.tells = lambda path, body: (503, {}, b"")
        never(gate)
        assert gate.status().state == "stale" and "503" in gate.status().why
        server.tells = truth
        assert gate.check("acme") and gate.wait_until_live(5)
        assert (gate.status().position, gate.status().why) == (42, "")
    never(gate, "undecided")


def test_given_more_workspaces_than_a_request_takes_then_several_are_sent(
    server: Server, gate: ServerGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.server_mode.BATCH_WORKSPACES_MAX", 3)

    def tell(path: str, body: dict[str, Any]) -> dict[str, Any]:
        bad = [name == "w5" for name in body["workspaces"]]
        codes = ["defaulted_on", "opted_out"]
        return rows(
            len(bad),
            permitted=[not one for one in bad],
            reasons=[int(one) for one in bad],
            reasonCodes=codes,
        )

    server.tells = tell
    answers = gate.check_many([f"w{n}" for n in range(8)])
    assert answers.permitted == [n != 5 for n in range(8)]
    assert [answers.reason_codes[one] for one in answers.reasons].index("opted_out") == 5
    assert [len(body["workspaces"]) for _, body in server.asked[-3:]] == [3, 3, 2]


def test_given_one_request_of_several_that_fails_then_its_rows_alone_are_undecided(
    server: Server, gate: ServerGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.server_mode.BATCH_WORKSPACES_MAX", 2)
    server.tells = lambda path, body: (503, {}, b"") if "w2" in body["workspaces"] else truth(path, body)
    assert gate.check_many([f"w{n}" for n in range(6)]).permitted == [True, True, False, False, True, True]


@pytest.mark.parametrize("mode", ["server", "replica"])
@pytest.mark.parametrize("age", [float("nan"), float("inf"), -1, "5", None])
def test_given_an_age_that_is_none_when_connecting_then_it_is_refused(mode: str, age: Any) -> None:
    with pytest.raises(ConsentError) as refused:
        Gate.connect("http://ledger.test", TOKEN, purpose="train", mode=mode, max_staleness=age)  # type: ignore[call-overload]
    assert refused.value.code == "invalid_value" and "max_staleness" in refused.value.detail
