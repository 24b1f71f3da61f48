"""Files filtered by a snapshot in which `good` permits and `bad` does not; what the tests of pipes share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consent_domain.facts import Attributes, Book, OrganisationFacts, Published, WorkspaceFacts
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_gate.filter import Filter
from consent_gate.formats.blocks import Columns, reader_of
from consent_gate.formats.format import formats
from consent_gate.formats.reading import Source
from consent_gate.formats.writing import Target
from consent_gate.verdicts import Verdict, Verdicts

TRAIN = Purpose(
    key="train",
    processing="train",
    reach="global",
    model_class="non_generative",
    recipient="first_party",
    categories=["messages"],
    legal_basis="legitimate_interest",
    justification="A test.",
)
RULES = PolicyRules(purposes=[TRAIN], rules=[Rule(selector=Selector(all=True), regime="opt_out")])
SINCE = 1_600_000_000_000_000
NOW = 1_800_000_000_000_000


class OneGood:
    """A snapshot in which `good`, `007` and `1e5` permit, and of which `broken` cannot be read."""

    book = Book(policies=(Published("1", 1, 0, "looser", RULES),), opened=2)

    def workspace(self, name: str) -> WorkspaceFacts | None:
        if name == "broken":
            raise OSError("the replica cannot be read")
        facts = WorkspaceFacts("production", 3, SINCE, (Attributes(SINCE, 3, "pro", "eu", "", ""),))
        return facts if name in ("good", "007", "1e5") else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        return None


def filtered(
    source: Path,
    target: Path,
    columns: Sequence[str] = ("w",),
    collected: str = "",
    separator: str = "",
) -> dict[Verdict, int]:
    """Filter a file as the command does, but for the ledger; the counts. Raises as its parts do."""
    read_as, written_as = formats(str(source), str(target), None, None)
    where = Columns(columns, collected, separator)
    with Source(str(source), read_as) as opened:
        reader = reader_of(opened, where)
        with Target(str(target), written_as) as kept:
            rows = Filter(Verdicts(OneGood(), NOW, "train"), columns, collected)
            writer = reader.writer(kept)
            for block in reader.blocks():
                writer.write(block, rows.mask(block.columns))
            writer.close()
            kept.finish()
            kept.keep()
    return rows.counts


def text_filtered(
    folder: Path, content: bytes, suffix: str = "csv", separator: str = "", **more: str
) -> bytes:
    """What is left of a text whose column is `w`."""
    source, target = folder / f"in.{suffix}", folder / f"out.{suffix}"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    filtered(source, target, separator=separator, **more)  # type: ignore[arg-type]
    return target.read_bytes()
