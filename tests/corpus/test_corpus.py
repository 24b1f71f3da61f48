"""Every byte form ever released decodes and folds to the same, for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from uuid import UUID

import pytest
from consent_domain.envelope import encode
from consent_domain.events import BY_NAME, EVENT_TYPES, EventType
from consent_domain.facts import (
    Book,
    OrganisationFacts,
    WorkspaceFacts,
    pack,
    unpack_book,
    unpack_organisation,
    unpack_workspace,
)
from consent_domain.instants import parse_rfc3339
from corpus.forms import CORPUS, Folded, add, fold, forms, readable, write

LOG = forms()
FOLDED = list(fold(LOG))
UNPACK = {
    Book: unpack_book,
    OrganisationFacts: unpack_organisation,
    WorkspaceFacts: unpack_workspace,
    type(None): lambda packed: None,
}
every_form = pytest.mark.parametrize(
    "folded", FOLDED, ids=lambda one: f"{one.form.type}/{one.form.path.stem}"
)


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.name)
def test_every_event_type_has_a_form(kind: EventType) -> None:
    assert any(form.type == kind.name for form in LOG)


def test_the_forms_are_one_log_without_gaps_so_none_was_removed() -> None:
    assert [folded.event.position for folded in FOLDED] == list(range(1, len(LOG) + 1))
    times = [folded.event.time for folded in FOLDED]
    assert times == sorted(set(times))


def test_every_file_belongs_to_a_form() -> None:
    found = {path for path in CORPUS.glob("*/*") if path.parent.name != "__pycache__"}
    assert found == {path for form in LOG for path in (form.path, form.facts_path)}


@every_form
def test_a_released_form_decodes_as_the_type_of_its_folder(folded: Folded) -> None:
    assert folded.event.type == folded.form.type
    assert folded.event.body is not None
    assert b"\n" not in folded.form.stored


@every_form
def test_a_released_form_folds_to_the_facts_it_folded_to_when_released(folded: Folded) -> None:
    assert readable(folded.facts) == json.loads(folded.form.facts_path.read_text())


@every_form
def test_the_facts_of_a_form_come_back_from_their_packed_bytes(folded: Folded) -> None:
    packed = pack(folded.facts)
    assert UNPACK[type(folded.facts)](packed) == folded.facts
    assert pack(UNPACK[type(folded.facts)](packed)) == packed


@every_form
def test_the_newest_version_of_a_type_still_writes_its_forms_byte_for_byte(folded: Folded) -> None:
    envelope = json.loads(folded.form.stored)
    body = folded.event.body
    assert body is not None
    if BY_NAME[folded.event.type].body is type(body):
        written = encode(
            folded.event.position,
            UUID(envelope["id"]),
            envelope["source"],
            envelope["subject"],
            parse_rfc3339(envelope["time"]),
            body,
        )
        assert written == folded.form.stored


def test_given_a_new_form_when_it_is_added_then_it_gets_the_next_number_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(CORPUS, tmp_path / "corpus"))
    monkeypatch.setattr("corpus.forms.CORPUS", copy)
    before = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*.json")}
    line = {
        "subject": "purpose/train.search_ranking",
        "type": "purpose-suspended.v1",
        "data": {
            "recordedBy": {"principal": "staff-1", "authentication": "api-key"},
            "reason": "An incident.",
            "effectiveAt": "2026-11-24T00:00:00Z",
        },
    }
    form = add(json.dumps(line).encode(), 4 * 10**15)
    after = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*.json")}
    assert {path: after[path] for path in before} == before
    assert after.keys() - before.keys() == {form.path.relative_to(copy), form.facts_path.relative_to(copy)}
    assert list(fold(forms()))[-1].event.position == len(LOG) + 1


def test_given_an_event_that_the_log_cannot_continue_with_then_nothing_is_written() -> None:
    before = {form.path: form.stored for form in LOG}
    with pytest.raises(AssertionError):
        write(next(form.stored for form in LOG if form.type == "workspace-enrolled.v1"))
    assert {form.path: form.stored for form in forms()} == before
