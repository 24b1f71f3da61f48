"""The corpus: every byte form of an event that was ever released, and the facts it folded to then.

    .venv/bin/python tests/corpus/forms.py < new.json

adds forms; each line of `new.json` is `{"subject": stream, "type": "<name>.v<N>", "data": body}`. Forms
are only ever added: `<type>/<n>.json` holds exactly the stored bytes, `<n>.facts.json` the facts of the
stream's home after them (null: the stream has none).

Together the forms are one log without gaps, in the order of `sequence`, so that a form which needs
earlier events finds them before it, and one that was removed is missed. Facts leave out fields that
hold their default: a field that later versions add changes no old form.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from consent_domain.envelope import Event, decode, encode
from consent_domain.events import BY_NAME
from consent_domain.evolve import evolve
from consent_domain.facts import Facts, home_of
from consent_domain.identifiers import uuid7
from consent_domain.instants import Micros

CORPUS = Path(__file__).parent
ORIGIN = "consent.local/corpus"


class Form(NamedTuple):
    """One stored form: its file, and its bytes."""

    path: Path
    stored: bytes

    @property
    def facts_path(self) -> Path:
        """The file of the facts that it folds to."""
        return self.path.with_suffix(".facts.json")

    @property
    def type(self) -> str:
        """The versioned name, as the folder says it."""
        return self.path.parent.name


class _New(msgspec.Struct):
    subject: str
    type: str
    data: msgspec.Raw


class Folded(NamedTuple):
    """A form with what it decodes and folds to today."""

    form: Form
    event: Event
    facts: Facts | None


def forms() -> list[Form]:
    """Every form, in the order of the log."""
    paths = (path for path in CORPUS.glob("*/*.json") if not path.name.endswith(".facts.json"))
    found = [Form(path, path.read_bytes()) for path in paths]
    return sorted(found, key=lambda form: str(json.loads(form.stored)["sequence"]))


def fold(log: Iterable[Form]) -> Iterator[Folded]:
    """Each form with its event and the facts of its home after it. Raises what decoding and folding raise."""
    facts: dict[tuple[str, str], Facts | None] = {}
    for form in log:
        event = decode(form.stored)
        home = home_of(event.stream)
        if home is None:
            yield Folded(form, event, None)
        else:
            facts[home] = evolve(facts.get(home), event)
            yield Folded(form, event, facts[home])


def readable(facts: Any) -> Any:
    """Facts as JSON for people: names beside values, defaults left out."""
    if isinstance(facts, msgspec.Struct):
        shown = {}
        for field in msgspec.structs.fields(facts):
            value = getattr(facts, field.name)
            factory = field.default_factory
            default = field.default if factory is msgspec.NODEFAULT else factory()
            if value != default:
                shown[field.name] = readable(value)
        return shown
    if isinstance(facts, (list, tuple)):
        return [readable(part) for part in facts]
    return facts


def write(stored: bytes) -> Form:
    """Add a form, under the next number of its type. Raises FileExistsError rather than overwrite one."""
    folder = CORPUS / json.loads(stored)["type"]
    folder.mkdir(exist_ok=True)
    taken = [int(path.name.partition(".")[0]) for path in folder.glob("*.json")]
    form = Form(folder / f"{max(taken, default=0) + 1}.json", stored)
    (*_, folded) = fold([*forms(), form])
    with form.path.open("xb") as file:
        file.write(stored)
    with form.facts_path.open("x") as file:
        file.write(json.dumps(readable(folded.facts), indent=2, ensure_ascii=False) + "\n")
    return form


def add(line: bytes, now: Micros) -> Form:
    """Encode a body as this version does, at the end of the log, and add it."""
    new = msgspec.json.decode(line, type=_New)
    body = msgspec.json.decode(new.data, type=BY_NAME[new.type].body)
    event_id = uuid7(now // 1_000, secrets.token_bytes(10))
    return write(encode(len(forms()) + 1, event_id, ORIGIN, new.subject, now, body))


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        print(add(line, time.time_ns() // 1_000).path.relative_to(CORPUS))
