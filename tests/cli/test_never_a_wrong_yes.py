"""Whatever goes wrong, the exit code is 2 and there is no file: a pipeline must not go on by accident."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consent_command import TRAIN, Ran, Stack, consent

RECENT = "2024-06-01T00:00:00Z"
NOWHERE = "http://127.0.0.1:1"
PERMIT = {
    "decision": "permit",
    "standing": "defaulted_on",
    "reasons": [{"code": "defaulted_on", "position": "3"}],
    "policyVersion": "1",
    "token": "o/1/3",
    "ledgerTime": "2026-01-01T00:00:00.000000Z",
    "stalenessMs": 5,
    "permittedCollected": [],
    "decisionId": "d",
    "sentence": "It may.",
}


@contextmanager
def answering(status: int, body: bytes, echoes: bool = True, **headers: str) -> Iterator[str]:
    """The URL of something that answers everything the same way, but for naming the question."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            asked = {"consent-question": self.headers.get("consent-question", "")} if echoes else {}
            for name, value in (asked | headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(**environment: str) -> Ran:
    return consent("check", "w", "--purpose", "p", "--collected", RECENT, **environment)


# -- check ---------------------------------------------------------------------------------------------------


def test_the_false_ledger_of_these_tests_would_be_believed_if_it_answered_well() -> None:
    with answering(200, json.dumps(PERMIT).encode()) as url:
        assert check(CONSENT_URL=url, CONSENT_TOKEN="key").code == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"permit",
        b"true",
        b"<html>permit</html>",
        b'{"decision": "permit"}',
        json.dumps(PERMIT | {"decision": "undecided"}).encode(),
        json.dumps(PERMIT | {"decision": "PERMIT"}).encode(),
        json.dumps(PERMIT | {"decision": "maybe"}).encode(),
        json.dumps(PERMIT | {"reasons": []}).encode(),
        json.dumps(PERMIT | {"reasons": [{"code": "opted_out", "position": "3"}]}).encode(),
        json.dumps(PERMIT | {"reasons": [*PERMIT["reasons"], {"code": "because"}]}).encode(),  # type: ignore[misc]
        b"[" * 100_000,
        json.dumps(PERMIT | {"decision": True}).encode(),
        json.dumps(PERMIT | {"unless": "something that this version does not know"}).encode(),
        json.dumps(PERMIT)[:-1].encode(),
        json.dumps(PERMIT).encode("utf-16"),
    ],
)
def test_an_answer_that_is_not_plainly_permit_is_2(body: bytes) -> None:
    with answering(200, body) as url:
        ran = check(CONSENT_URL=url, CONSENT_TOKEN="key")
    assert ran.code == 2, ran.out


@pytest.mark.parametrize("named", [None, "", "0" * 32])
def test_an_answer_that_was_kept_or_is_anothers_is_2(named: str | None) -> None:
    other = {} if named is None else {"consent-question": named}
    with answering(200, json.dumps(PERMIT).encode(), echoes=False, **other) as url:
        ran = check(CONSENT_URL=url, CONSENT_TOKEN="key")
    assert ran.code == 2 and "another question" in ran.err


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 404, 429, 500, 502, 503])
def test_a_permit_with_any_other_status_is_2(status: int) -> None:
    with answering(200, json.dumps(PERMIT).encode()) as elsewhere:
        body = b"" if status == 204 else json.dumps(PERMIT).encode()
        with answering(status, body, location=f"{elsewhere}/v1/check") as url:
            ran = check(CONSENT_URL=url, CONSENT_TOKEN="key")
    assert ran.code == 2
    assert ran.out == ""
    assert url in ran.err


def test_nobody_who_answers_is_2() -> None:
    ran = check(CONSENT_URL=NOWHERE, CONSENT_TOKEN="key")
    assert ran.code == 2
    assert "is the ledger running there?" in ran.err


def test_no_context_is_2_and_says_how_to_give_it() -> None:
    ran = check()
    assert ran.code == 2
    assert "--url" in ran.err and "CONSENT_URL" in ran.err


def test_no_key_a_wrong_key_and_a_key_of_another_role_are_2(stack: Stack) -> None:
    assert check(CONSENT_URL=stack.url).code == 2
    wrong = check(CONSENT_URL=stack.url, CONSENT_TOKEN=stack.keys["pipeline"][:-1])
    assert wrong.code == 2
    assert "CONSENT_TOKEN" in wrong.err
    assert consent("history", stack.on[0], **stack.settings("pipeline")).code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--collected", "2024"],
        ["--collected", "2024-06-01T00:00:00"],
        ["--collected", RECENT, "--collected-from", RECENT, "--collected-to", RECENT],
        ["--collected-from", RECENT],
        ["--collected-to", RECENT],
        ["--known-at", "yesterday"],
        ["--known-at", "consent.local/ledger/1/999999999"],
        ["--known-at", "another.log/1/1"],
        ["--as-of", "2999-01-01T00:00:00Z"],
    ],
)
def test_a_question_that_cannot_be_understood_is_2(stack: Stack, words: list[str]) -> None:
    ran = consent("check", stack.on[0], "--purpose", TRAIN, *words, **stack.settings())
    assert ran.code == 2, ran.out
    assert ran.out == ""


def test_an_error_for_programs_says_undecided(stack: Stack) -> None:
    ran = consent("check", "w", "--purpose", "p", "--json", CONSENT_URL=NOWHERE, CONSENT_TOKEN="key")
    assert (ran.code, ran.told["decision"], ran.told["code"]) == (2, "undecided", "unavailable")


# -- filter --------------------------------------------------------------------------------------------------


@pytest.fixture
def source(stack: Stack, tmp_path: Path) -> Path:
    """A file all of whose rows may be used."""
    times = pa.array([RECENT] * 3).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"w": [stack.on[0]] * 3, "t": times, "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def filtered(source: Path, *words: str, **environment: str) -> Ran:
    out = str(source.with_name("out.parquet"))
    return consent(
        "filter", str(source), out, "--column", "w", "--collected-column", "t", "--purpose", TRAIN, *words,
        **environment,
    )  # fmt: skip


def files(source: Path) -> list[str]:
    return sorted(path.name for path in source.parent.iterdir() if path.is_file())


def test_the_file_of_these_tests_would_be_filtered_if_all_went_well(stack: Stack, source: Path) -> None:
    assert filtered(source, **stack.settings()).code == 0
    assert len(pq.read_table(source.with_name("out.parquet"))) == 3


def test_filter_without_context_or_key_leaves_no_file(stack: Stack, source: Path) -> None:
    for environment in (
        {},
        {"CONSENT_URL": stack.url},
        {"CONSENT_TOKEN": stack.keys["pipeline"]},
        stack.settings(CONSENT_TOKEN="wrong"),
        stack.settings("auditor"),
        stack.settings(CONSENT_URL=NOWHERE),
    ):
        ran = filtered(source, **environment)
        assert ran.code == 2, ran.out
        assert files(source) == ["in.parquet"]


@pytest.mark.parametrize("words", [["--column", "W"], ["--column", "n"], ["--collected-column", "n"]])
def test_filter_by_a_column_that_will_not_do_leaves_no_file(
    stack: Stack, source: Path, words: list[str]
) -> None:
    ran = filtered(source, *words, **stack.settings())
    assert ran.code == 2
    assert repr(words[1]) in ran.err
    assert files(source) == ["in.parquet"]


def test_given_a_replica_of_a_moment_ago_when_the_ledger_is_gone_then_there_is_no_file(
    stack: Stack, source: Path, tmp_path: Path
) -> None:
    replica = {"CONSENT_REPLICA": str(tmp_path / "replica")}
    assert filtered(source, **stack.settings(), **replica).code == 0
    source.with_name("out.parquet").unlink()
    with answering(200, b"") as url:
        for dead in (NOWHERE, url):
            environment = stack.settings(CONSENT_URL=dead) | replica
            ran = filtered(source, **environment)
            assert ran.code == 2, ran.out
            assert files(source) == ["in.parquet"]


def test_given_another_feed_key_when_the_feed_is_not_signed_by_it_then_there_is_no_file(
    stack: Stack, source: Path
) -> None:
    from consent_gate.signatures import Signer

    stranger = str(Signer("consent.local/feed", bytes(32)).verifier)
    ran = filtered(source, **stack.settings(CONSENT_FEED_KEY=stranger))
    assert ran.code == 2
    assert "[wrong_key]" in ran.err and stranger.split("+")[1] in ran.err
    assert files(source) == ["in.parquet"]


def test_a_file_that_is_there_is_neither_replaced_nor_taken_for_the_answer(
    stack: Stack, source: Path
) -> None:
    out = source.with_name("out.parquet")
    out.write_bytes(b"of an earlier job")
    ran = filtered(source, **stack.settings())
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert out.read_bytes() == b"of an earlier job"
    assert filtered(source, "--overwrite", **stack.settings()).code == 0
    assert len(pq.read_table(out)) == 3


def test_what_an_earlier_job_permitted_is_gone_when_this_one_cannot_decide(
    stack: Stack, source: Path
) -> None:
    assert filtered(source, **stack.settings()).code == 0
    assert filtered(source, "--overwrite", **stack.settings(CONSENT_URL=NOWHERE)).code == 2
    assert files(source) == ["in.parquet"]


def test_a_file_is_not_filtered_into_itself_or_nowhere(stack: Stack, source: Path) -> None:
    before = source.read_bytes()
    words = ["--column", "w", "--purpose", TRAIN, "--overwrite"]
    for target in (
        source,
        source.parent / "." / "in.parquet",
        source.parent / "nowhere" / "out.parquet",
        source.parent,
    ):
        ran = consent("filter", str(source), str(target), *words, **stack.settings())
        assert ran.code == 2, ran.out
    assert source.read_bytes() == before
    assert files(source) == ["in.parquet"]


def test_a_purpose_that_no_policy_knows_leaves_no_row(stack: Stack, source: Path) -> None:
    ran = filtered(source, "--purpose", "train.no_such_thing", "--json", **stack.settings())
    assert (ran.code, ran.told["code"]) == (2, "unknown_purpose")
    assert files(source) == ["in.parquet"]
