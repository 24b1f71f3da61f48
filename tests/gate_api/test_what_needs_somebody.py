"""What does not mend itself has a code of its own; nobody waits for it, nothing is permitted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from consent_domain.errors import ConsentError
from consent_gate import pin
from consent_gate.gate import Gate
from consent_gate.signatures import Signer
from consent_gate.states import NEEDS_SOMEBODY
from faulty import KEY, PURPOSE, TOKEN, Feed, connect, halves, permitted, serving, until

OTHER = Signer("consent.other/feed", bytes(range(32)))
NAMES = ["w000", "w001", "w002"]


@pytest.fixture
def feed() -> Iterator[Feed]:
    with serving(halves(4)[0]) as made:
        yield made


def ends_early(gate: Gate, code: str) -> ConsentError:
    """A job is told to wait for longer than the test may take."""
    with pytest.raises(ConsentError) as refused, gate.job(wait_seconds_max=600):
        pass
    assert refused.value.code == code and code in NEEDS_SOMEBODY
    return refused.value


def test_given_another_key_than_the_feeds_from_the_beginning_then_wrong_key(
    feed: Feed, tmp_path: Path
) -> None:
    with connect(feed, tmp_path, verifier_key=str(OTHER.verifier)) as gate:
        until(lambda: gate.status().code == "wrong_key")
        status = gate.status()
        assert status.state != "live" and "consent-ledger keys feed" in status.why
        assert KEY.split("+")[1] in status.why and str(OTHER.verifier).split("+")[1] in status.why
        assert permitted(gate, NAMES) == []
        ends_early(gate, "wrong_key")


def test_given_another_key_than_the_feeds_from_now_on_then_halted_until_it_is_the_right_one(
    feed: Feed, tmp_path: Path
) -> None:
    with connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(30) and permitted(gate, NAMES) == ["w000", "w002"]
        right, feed.signer = feed.signer, OTHER
        until(lambda: gate.status().state == "halted")
        assert gate.status().code == "wrong_key" and permitted(gate, NAMES) == []
        ends_early(gate, "wrong_key")
        feed.signer = right
        until(lambda: gate.status().state == "live")
        assert gate.status().code == gate.status().why == ""
        assert permitted(gate, NAMES) == ["w000", "w002"]


def test_given_pages_that_were_changed_on_their_way_then_halted_and_not_wrong_key(
    feed: Feed, tmp_path: Path
) -> None:
    """Who forges a page says that the right key signed it: then the key is not what is wrong."""
    answer = feed.answer

    def changed(path: str, authorization: str) -> tuple[int, bytes]:
        status, body = answer(path, authorization)
        return status, body[:-1] + bytes([body[-1] ^ 1])

    feed.answer = changed  # type: ignore[method-assign]
    with connect(feed, tmp_path) as gate:
        until(lambda: "signature" in gate.status().why)
        assert gate.status().code not in NEEDS_SOMEBODY and permitted(gate, NAMES) == []


def test_given_another_log_at_the_address_then_other_origin(feed: Feed, tmp_path: Path) -> None:
    answer = feed.answer
    with connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(30)
        refusal = {"code": "other_origin", "detail": "the token is of consent.test/ledger"}
        feed.answer = lambda path, authorization: (409, msgspec.json.encode(refusal))  # type: ignore[method-assign]
        until(lambda: gate.status().state == "halted")
        assert gate.status().code == "other_origin" and permitted(gate, NAMES) == []
        ends_early(gate, "other_origin")
        feed.answer = answer  # type: ignore[method-assign]
        until(lambda: gate.status().state == "live")


def test_given_a_key_that_is_refused_then_a_job_gives_another_process_time_and_ends(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pin, "REFUSED_SECONDS_MAX", 1.0)
    with connect(feed, tmp_path, token="ck_p_gone") as gate:
        assert "no such key" in ends_early(gate, "unauthenticated").detail
        assert permitted(gate, NAMES) == []


def test_given_a_key_that_is_refused_when_another_process_follows_then_a_job_begins(
    feed: Feed, tmp_path: Path
) -> None:
    with connect(feed, tmp_path, token="ck_p_gone") as refused:
        until(lambda: refused.status().code == "unauthenticated")
        with connect(feed, tmp_path) as good, refused.job(wait_seconds_max=30) as job:
            assert good and job.filter(NAMES, lambda row: row) == ["w000", "w002"]


def test_given_server_mode_then_the_status_has_the_code_of_what_is_in_the_way(feed: Feed) -> None:
    feed.stop()
    with Gate.connect(feed.url, TOKEN, purpose=PURPOSE, mode="server") as gate:
        assert (gate.status().state, gate.status().code) == ("stale", "unavailable")
