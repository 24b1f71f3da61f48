"""The columns of a snapshot, and the order of its rows.

    kind          `book`, `organisation`, `workspace`, `class`: in this order in the file
    workspace     id, where the row is of a workspace; in the order of its bytes
    organisation  id, where the row is of an organisation; in the order of its bytes
    ordinal       of a workspace: the position of its enrolment
    class         of a workspace to which nothing happened since: the number of what it shares with others;
                  of a class: its number, from 0
    since         of a workspace: since when it is a customer
    facts         packed (consent_domain.facts): of the book, of an organisation, of a workspace with
                  a history; of a class, what its workspaces share (cells.WorkspaceClass)

What does not apply is null. Row groups have `GROUP_ROWS` rows at most and one kind each; classes are one
group, the last, so that it can be read first. Needs pyarrow and numpy.
"""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa

from consent_gate.cells import CLASS_COUNT_MAX

BOOK, ORGANISATION, WORKSPACE, CLASS = KINDS = ("book", "organisation", "workspace", "class")
GROUP_ROWS = 131_072
assert CLASS_COUNT_MAX <= GROUP_ROWS, "all classes are one group"

_FIELDS: list[pa.Field[Any]] = [
    pa.field("kind", pa.string(), nullable=False),
    pa.field("workspace", pa.string()),
    pa.field("organisation", pa.string()),
    pa.field("ordinal", pa.int64()),
    pa.field("class", pa.int32()),
    pa.field("since", pa.timestamp("us", "UTC")),
    pa.field("facts", pa.binary()),
]
SCHEMA = pa.schema(_FIELDS)
ENCODINGS = dict.fromkeys(("workspace", "organisation"), "DELTA_BYTE_ARRAY")
"""Sorted ids share their beginnings."""
DICTIONARIES: Any = ["kind", "class"]
COMPRESSION: Literal["zstd"] = "zstd"
MEDIA_TYPE = "application/vnd.apache.parquet"
