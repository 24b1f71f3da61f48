"""Tables beside the log's: views, Idempotency-Keys, API keys.

The docstring of each test names a row of the table in docs/explanation/tampering.md.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attacked import Honest, kinds, until
from consent_domain.facts import Choices, WorkspaceFacts, pack, unpack_workspace
from consent_gate.gate import Gate
from http_service import free_port, server
from msgspec.structs import replace
from steady_load import OPT_OUT, PURPOSE
from superuser import Superuser


@pytest.fixture
def permissive(honestly: Honest) -> Iterator[Honest]:
    """The view of facts says that `acme` never opted out, and the projector is busy; put right at the end."""
    she = honestly.place.she
    # Attacks before this one may have put the log back to where a gate was ahead of it.
    for number in range(2):
        honestly.place.enrol(f"later-{secrets.token_hex(4)}-{number}")
    until(lambda: honestly.gate.check("initech"), "the gate permits before")
    known = of_acme(she)
    facts = unpack_workspace(known)
    assert isinstance(facts, WorkspaceFacts) and facts.choices.opt_outs
    until(lambda: has_read_everything(she), "the projector is not behind when it is made to wait")
    with honestly.projector.paused():
        give(she, pack(replace(facts, choices=Choices())))
        yield honestly
        give(she, known)
    until(lambda: not is_disputed(she), "a whole round was sound")
    until(lambda: honestly.gate.check("initech"), "the gate permits again")
    until(lambda: honestly.place.check("initech")["decision"] == "permit", "the ledger permits again")


def is_disputed(she: Superuser) -> bool:
    (row,) = she.rows("SELECT views.is_disputed(cursors) AS it FROM views.cursors WHERE view = 'facts'")
    return bool(row["it"])


def has_read_everything(she: Superuser) -> bool:
    (row,) = she.rows("SELECT position FROM views.cursors WHERE view = 'facts'")
    return bool(row["position"] == she.ledger().head[0])


def rows_of(she: Superuser, workspace: str) -> list[bytes]:
    rows = she.rows("SELECT id, facts FROM views.facts WHERE kind = 'workspace'")
    return [bytes(row["facts"]) for row in rows if row["id"] == workspace]


def of_acme(she: Superuser) -> bytes:
    (facts,) = rows_of(she, "acme")
    return facts


def give(she: Superuser, facts: bytes) -> None:
    she.do("UPDATE views.facts SET facts = $1 WHERE kind = 'workspace' AND id = 'acme'", facts)


def test_given_a_permissive_row_of_the_view_when_the_projector_comes_to_it_then_nobody_is_told_anything(
    permissive: Honest,
) -> None:
    """a row of a view is replaced"""
    place = permissive.place
    permissive.projector.go_on()
    until(lambda: is_disputed(place.she), "the projector disputes the facts")
    until(lambda: permissive.gate.status().state == "stale", "gates deny")
    until(lambda: place.code("initech") == "stale", "the ledger denies")
    told = (place.folder / "projector.log").read_text()
    assert "row_is_wrong" in told and "workspace/acme" in told
    assert place.fsck().findings == [], "views are folded from the log, and no part of it"


def test_given_a_permissive_row_of_the_view_when_the_view_is_rebuilt_then_it_differs(
    permissive: Honest,
) -> None:
    """a row of a view is replaced while no projector runs"""
    words = [sys.executable, "-m", "consent_projector.main", "rebuild", "facts", "--processes", "1", "--json"]
    environment = permissive.place.environment()
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["differences"], told["switched"]) == (1, False)


def test_given_a_permissive_row_of_the_view_when_a_host_begins_from_it_then_monitor_or_projector_finds_it(
    permissive: Honest, tmp_path: Path
) -> None:
    """a row of a view is replaced, and a host begins from it"""
    place, port = permissive.place, free_port()
    assert place.code("acme") == "opt_out_requested", "who follows already does not read it again"
    settings = replace(place.settings, replica_folder=str(tmp_path / "replica"))
    with server(settings, port, tmp_path / "serve.log"):
        other = place.at(f"http://127.0.0.1:{port}")
        assert other.check("acme")["decision"] == "permit", "it is believed"
        ran = other.look(permissive.memory)
        assert kinds(ran) == {"other_decision"}
        assert {one["workspace"] for one in ran.told["alarms"]} == {"acme"}
        permissive.projector.go_on()
        until(lambda: other.code("acme") == "stale", "the host denies")


@contextmanager
def new_gate(honest: Honest, folder: Path) -> Iterator[Gate]:
    place = honest.place
    with Gate.connect(
        place.url, place.keys["pipeline"], purpose=PURPOSE, replica_dir=folder, max_staleness=3.0
    ) as gate:
        assert gate.wait_until_live(20), gate.status()
        yield gate


def test_given_a_permissive_row_when_a_new_gate_begins_from_it_then_it_permits_until_it_is_found(
    permissive: Honest, tmp_path: Path
) -> None:
    """a row of a view is replaced, and a gate elsewhere begins from it"""
    with new_gate(permissive, tmp_path / "gate") as gate:
        assert gate.check("acme").decision == "permit", "a gate has no events to compare with"
        assert not permissive.gate.check("acme"), "one that follows already is sent what changed since"
        permissive.projector.go_on()
        until(lambda: not gate.check("acme"), "the gate denies")


def test_given_a_deleted_idempotency_key_when_the_command_is_given_again_then_it_is_recorded_twice(
    honestly: Honest,
) -> None:
    """an Idempotency-Key is deleted"""
    place = honestly.place
    place.enrol("twice")
    first = place.post("/v1/workspaces/twice/opt-outs", OPT_OUT, **{"idempotency-key": "once"}).json()
    again = place.post("/v1/workspaces/twice/opt-outs", OPT_OUT, **{"idempotency-key": "once"}).json()
    assert again["position"] == first["position"]
    place.she.do("DELETE FROM ledger.idempotency")
    third = place.post("/v1/workspaces/twice/opt-outs", OPT_OUT, **{"idempotency-key": "once"}).json()
    assert int(third["position"]) > int(first["position"])
    place.until_published()
    place.until_witnessed()
    assert (place.fsck().findings, kinds(place.look(honestly.memory))) == ([], set())


def test_given_an_api_key_that_she_made_when_it_is_used_then_only_its_principal_tells(
    honestly: Honest,
) -> None:
    """an API key is added"""
    place = honestly.place
    place.keys["hers"] = place.she.make_key("hers")
    until(lambda: place.get("/v1/purposes", by="hers").status_code == 200, "keys are read again")
    answer = place.post("/v1/workspaces", {"workspace": "hers", "plan": "free", "region": "eu"}, by="hers")
    assert answer.status_code < 300, answer.text
    last = place.she.ledger().event("workspace/hers", "workspace-enrolled.v1")
    principal = f"key-{place.keys['hers'][5:13]}"
    assert f'"principal":"{principal}"'.encode() in last.body
    place.until_published()
    place.until_witnessed()
    assert (place.fsck().findings, kinds(place.look(honestly.memory))) == ([], set())
