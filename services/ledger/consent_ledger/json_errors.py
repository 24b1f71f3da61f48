"""What is said of JSON that cannot be read: where, and what was expected, but never what stood there.

msgspec repeats values where a member may only hold certain ones, and the names of members that it does not
know. Either may be somebody's name in the wrong place, and what is said ends up in answers and logs.
"""

from __future__ import annotations

import re

import msgspec

_PLACE = r"(?= - at `|\Z)"
_VALUE = re.compile(rf"^(Invalid (?:enum )?value) .*?{_PLACE}", re.DOTALL)
_MEMBER = re.compile(rf"unknown field `(?![A-Za-z_]\w{{0,63}}`{_PLACE}).*?`{_PLACE}", re.DOTALL | re.ASCII)


def in_words(error: msgspec.MsgspecError | UnicodeDecodeError | RecursionError) -> str:
    """The error's own words without what was sent. A member's name stays if it looks like one."""
    return _MEMBER.sub("unknown field", _VALUE.sub(r"\1", str(error)))
