"""Given a manifest that names a checkpoint, then it is a promise of this very log from after its token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from consent_domain import checkpoints, notes
from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.notes import format_note, parse_note
from consent_gate.signatures import Signer
from http_service import publisher
from registered import Registry


@pytest.fixture(scope="module", autouse=True)
def publishing(ledger: Registry) -> Iterator[None]:
    with publisher(ledger.settings):
        yield


async def published(ledger: Registry, size: int) -> str:
    """The signed note of a checkpoint that covers so many events."""
    async with asyncio.timeout(30):
        while True:
            found = await ledger.call("GET", "/log/checkpoint", None)
            if found.status_code == 200 and parse_checkpoint(parse_note(found.content).text).size >= size:
                return found.text
            await asyncio.sleep(0.05)


def signer_of(ledger: Registry, name: str = "") -> Signer:
    """The log's own key, as only a thief of it has it."""
    seed = (Path(ledger.settings.log_folder).parent / "log.key").read_bytes()
    return Signer(name or ledger.settings.origin, seed)


def signed(signer: Signer, checkpoint: Checkpoint) -> str:
    text = checkpoints.text(checkpoint)
    return format_note(notes.Note(text, (signer.sign_note(text),))).decode()


async def test_given_a_checkpoint_from_after_the_token_then_it_is_kept_in_the_manifest(
    ledger: Registry,
) -> None:
    position = int((await ledger.token()).rpartition("/")[2])
    note = await published(ledger, position)
    await ledger.register("anchored", ["acme"], checkpoint=note)
    told = await ledger.call.done("GET", "/v1/runs/anchored")
    assert told["manifest"]["checkpoint"] == note


async def test_given_a_later_log_then_an_older_checkpoint_that_covers_the_token_is_still_its_own(
    ledger: Registry,
) -> None:
    moment = await ledger.moment()
    older = await published(ledger, int(moment["token"].rpartition("/")[2]))
    await ledger.enrol(*(f"later-{number}" for number in range(5)))
    await published(ledger, int((await ledger.token()).rpartition("/")[2]))
    body = ledger.body("older", [ledger.ordinals["acme"]], **moment, checkpoint=older)
    assert (await ledger.post(body)).status_code == 201


async def test_given_a_checkpoint_from_before_the_token_then_refused(ledger: Registry) -> None:
    note = await published(ledger, 1)
    await ledger.enrol("newcomer")
    refused = await ledger.refused(await ledger.manifest("early", ["newcomer"], checkpoint=note))
    assert "take one from after" in refused["detail"]


@pytest.mark.parametrize("what", ["root", "key", "name", "cut", "words"])
async def test_given_what_this_log_never_promised_then_refused(ledger: Registry, what: str) -> None:
    position = int((await ledger.token()).rpartition("/")[2])
    note = await published(ledger, position)
    checkpoint = parse_checkpoint(parse_note(note.encode()).text)
    forged = {
        "root": lambda: signed(signer_of(ledger), checkpoint._replace(root=bytes(32))),
        "key": lambda: signed(Signer(ledger.settings.origin, bytes(32)), checkpoint),
        "name": lambda: signed(
            signer_of(ledger, "other.test/log"), checkpoint._replace(name="other.test/log")
        ),
        "cut": lambda: note[: len(note) // 2],
        "words": lambda: "it is all true",
    }[what]()
    refused = await ledger.refused(await ledger.manifest(f"forged-{what}", ["acme"], checkpoint=forged))
    assert refused["detail"].startswith("checkpoint: ")


async def test_given_a_checkpoint_that_is_newer_than_what_is_published_here_then_asked_to_come_again(
    ledger: Registry,
) -> None:
    far = signed(signer_of(ledger), Checkpoint(ledger.settings.origin, 1 << 40, bytes(32)))
    await published(ledger, 1)
    told = await ledger.refused(await ledger.manifest("far", ["acme"], checkpoint=far), "beyond_checkpoint")
    assert int(told["size"]) >= 1


async def test_given_a_checkpoint_longer_than_any_note_then_refused_before_anything_is_read(
    ledger: Registry,
) -> None:
    await ledger.refused(await ledger.manifest("long", ["acme"], checkpoint="x" * 2_000_000), "invalid_value")
