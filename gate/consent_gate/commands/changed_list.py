"""`consent simulate --list`: every workspace that changes, a row a workspace and use, as CSV or JSON lines.

Rows hold ids and codes only, which mean nothing to a spreadsheet. The file is there when it is whole:
it is written under another name first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from consent_domain.errors import ConsentError

from consent_gate.simulation.census import Changed
from consent_gate.simulation.changes import UNCHANGED, Outcome, Outcomes
from consent_gate.simulation.questions import Question

SUFFIXES = (".csv", ".jsonl")
HEAD = "workspace,purpose,category,change,reason_before,reason_after"


@contextmanager
def changed_list(target: str | None, questions: Sequence[Question]) -> Iterator[Changed | None]:
    """What to tell of each workspace that changes; None without a target.

    Raises ConsentError `invalid_value` for a file that is there, or has another suffix; what writing
    raises is `unavailable`, and leaves no file.
    """
    if target is None:
        yield None
        return
    path = Path(target)
    if path.suffix not in SUFFIXES:
        raise ConsentError("invalid_value", f"--list takes a file that ends in {' or '.join(SUFFIXES)}")
    if path.exists():
        raise ConsentError("invalid_value", f"{path} is there already; name another file, or remove it")
    begun = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        try:
            with begun.open("w", encoding="utf-8", newline="\n") as file:
                yield _writer(file, questions, path.suffix)
        except OSError as error:
            raise ConsentError("unavailable", f"{path} cannot be written: {error.strerror}") from error
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)


def _writer(file: TextIO, questions: Sequence[Question], suffix: str) -> Changed:
    line = _csv if suffix == ".csv" else _json
    known: dict[Outcomes, str] = {}
    if suffix == ".csv":
        file.write(f"{HEAD}\n")

    def write(name: str, outcomes: Outcomes) -> None:
        template = known.get(outcomes)
        if template is None:
            rows = [
                line(*pair)
                for pair in zip(questions, outcomes, strict=True)
                if _is_told(outcomes, questions, *pair)
            ]
            template = known[outcomes] = "".join(rows)
        # Ids have no `%`, and neither have purposes, categories and codes.
        file.write(template.replace("%", name))

    return write


def _is_told(outcomes: Outcomes, questions: Sequence[Question], question: Question, outcome: Outcome) -> bool:
    """Whether the outcome is a change; of a part of a purpose, another one than that of the whole."""
    if outcome.change == UNCHANGED:
        return False
    if not question.category:
        return True
    return outcome.change != outcomes[questions.index(Question(question.purpose))].change


def _csv(question: Question, outcome: Outcome) -> str:
    return (
        f"%,{question.purpose},{question.category},{outcome.change},{outcome.code_before},"
        f"{outcome.code_after}\n"
    )


def _json(question: Question, outcome: Outcome) -> str:
    told = {
        "workspace": "%",
        "purpose": question.purpose,
        "category": question.category,
        "change": outcome.change,
        "reasonBefore": outcome.code_before,
        "reasonAfter": outcome.code_after,
    }
    return json.dumps(told) + "\n"
