"""Formats, by the suffix that a file of theirs has, with `.gz` or `.zst` behind it for text."""

from __future__ import annotations

from pathlib import PurePath
from typing import NamedTuple

from consent_domain.errors import ConsentError

STANDARD = "-"
"""The path of standard input and output."""
SUFFIXES = {
    "parquet": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "tsv": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "arrow": "arrow",
    "feather": "arrow",
    "arrows": "arrows",
}
"""`arrow` is an Arrow IPC file, `arrows` an Arrow IPC stream."""
COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}
TEXTS = ("csv", "tsv", "jsonl")
NAMES = tuple(dict.fromkeys(SUFFIXES.values()))


class Format(NamedTuple):
    """`compression` is empty, or of `COMPRESSIONS`: only text has it around the whole."""

    name: str
    compression: str = ""

    @property
    def is_text(self) -> bool:
        """Whether rows are lines."""
        return self.name in TEXTS

    @property
    def needs_seeking(self) -> bool:
        """Whether it is read from its end on, so that a pipe of it must be put aside first."""
        return self.name in ("parquet", "arrow")


def parse_format(text: str) -> Format:
    """What `--from` and `--to` say: a suffix, such as `parquet` or `csv.gz`.

    Raises ConsentError `invalid_value` for no format.
    """
    name, _, more = text.lower().partition(".")
    found = _format(name, more)
    if found is None:
        raise ConsentError(
            "invalid_value",
            f"{text!r} is no format; there are {', '.join(NAMES)}, and for text such as csv.gz and jsonl.zst",
        )
    return found


def format_of(path: str) -> Format | None:
    """The format that the name of a file says, None if it says none."""
    suffixes = ["", *PurePath(path).name.lower().split(".")[1:]]
    if suffixes[-1] in COMPRESSIONS:
        return _format(suffixes[-2], suffixes[-1])
    return _format(suffixes[-1], "")


def _format(suffix: str, more: str) -> Format | None:
    name = SUFFIXES.get(suffix)
    if name is None or (more and (more not in COMPRESSIONS or name not in TEXTS)):
        return None
    return Format(name, COMPRESSIONS.get(more, ""))


def formats(source: str, target: str, read_as: str | None, written_as: str | None) -> tuple[Format, Format]:
    """The formats of both ends: what was said, else what names say, else what the other end has.

    Raises ConsentError `invalid_value` if nobody said it, or if rows would have to be converted.
    """
    first = parse_format(read_as) if read_as else format_of(source)
    last = parse_format(written_as) if written_as else format_of(target)
    if first is None:
        if source != STANDARD:
            raise ConsentError("invalid_value", f"the name {source} says no format; say it by --from")
        first = last
    if last is None and target == STANDARD:
        last = first
    if first is None or last is None:
        which = "--from" if first is None else "--to"
        raise ConsentError("invalid_value", f"nothing says the format; say it by {which}, such as jsonl")
    if first.is_text != last.is_text or (first.is_text and first.name != last.name):
        raise ConsentError(
            "invalid_value",
            f"rows of {first.name} are not converted into {last.name}: lines are written as they came, "
            "and Parquet and Arrow into each other",
        )
    return first, last
