"""C2SP tlog-policy: which logs and witnesses are known, and how many must have cosigned.

    log example.com/log+1a2b3c4d+AQ…
    witness A witness.example/a+0a1b2c3d+BA… https://witness.example/a
    witness B witness.example/b+0e1f2a3b+BA… https://witness.example/b
    witness C witness.example/c+4c5d6e7f+BA…
    group two-of-three 2 A B C
    quorum two-of-three

Names are the policy's own. A line may name only what lines before it define, and a name is a member
of at most one group, so that no witness counts twice. Keys of other kinds than Ed25519 are refused:
nobody here could verify them, and a witness that is never counted would only look like one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, NoReturn

from consent_domain.errors import ConsentError
from consent_domain.notes import COSIGNS, SIGNS_NOTES, KeyText, parse_key

POLICY_CHARACTERS_MAX = 1 << 18
DEFINITIONS_MAX = 64
"""Logs, witnesses and groups, of each; the specification asks for 32."""
NOBODY = "none"
"""The quorum that asks for no cosignature."""

_PUBLIC_BYTES = 32


class KnownLog(NamedTuple):
    """`key` is its verifier key, whose name is the log's; `url` means what the application says."""

    key: str
    url: str | None


class KnownWitness(NamedTuple):
    """`name` is the policy's word for it; `url` is where checkpoints are submitted."""

    name: str
    key: str
    url: str | None


class Group(NamedTuple):
    """Counts as having cosigned when `threshold` of its `members`, witnesses or groups, have."""

    threshold: int
    members: tuple[str, ...]


class WitnessPolicy(NamedTuple):
    """`groups` are in the order of their definition: a group comes after its members.

    `quorum` names a witness, a group, or is `NOBODY`.
    """

    logs: tuple[KnownLog, ...]
    witnesses: Mapping[str, KnownWitness]
    groups: Mapping[str, Group]
    quorum: str

    def satisfied(self, cosigned: Collection[str]) -> bool:
        """Whether the witnesses named `cosigned` are enough; names that are no witness's do not count."""
        return self.quorum == NOBODY or self.quorum in self._counted(cosigned)

    def missing(self, cosigned: Collection[str]) -> str:
        """What lacks, in words; empty if nothing does. A group that lacks too many says which are missing."""
        counted = self._counted(cosigned)
        if self.quorum == NOBODY or self.quorum in counted:
            return ""
        return self._lacks(self.quorum, counted)

    def _counted(self, cosigned: Collection[str]) -> set[str]:
        counted = {name for name in self.witnesses if name in cosigned}
        for name, group in self.groups.items():
            if len(counted.intersection(group.members)) >= group.threshold:
                counted.add(name)
        return counted

    def _lacks(self, name: str, counted: set[str]) -> str:
        # As deep as groups nest, DEFINITIONS_MAX at most, and every name is a member only once.
        group = self.groups.get(name)
        if group is None:
            return f"witness {name} has not cosigned"
        absent = [member for member in group.members if member not in counted]
        needed = group.threshold - (len(group.members) - len(absent))
        reasons = "; ".join(self._lacks(member, counted) for member in absent)
        return f"{needed} more of {len(group.members)} needed in group {name} ({reasons})"


def parse_policy(text: str) -> WitnessPolicy:
    """The policy that `text` writes. Raises ConsentError `malformed`, with the number of the line.

    Bytes that are not UTF-8 are allowed in names and comments by the specification; decode a file with
    `errors="surrogateescape"` to keep them apart.
    """
    if len(text) > POLICY_CHARACTERS_MAX:
        _refuse(f"a policy of {len(text)} characters is longer than {POLICY_CHARACTERS_MAX}")
    if text and not text.endswith("\n"):
        _refuse("the last line of the policy does not end with a newline: it may be cut off")
    reading = _Reading()
    for number, line in enumerate(text.split("\n")[:-1], 1):
        if any((character < " " and character != "\t") or character == "\x7f" for character in line):
            _refuse(f"line {number} of the policy has control characters")
        # The specification's white space is these two, not what Unicode thinks.
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if words and not words[0].startswith("#"):
            try:
                reading.line(words)
            except ConsentError as error:
                _refuse(f"line {number} of the policy: {error.detail}")
    return reading.policy()


class _Reading:
    """What the lines read so far define."""

    def __init__(self) -> None:
        self._logs: list[KnownLog] = []
        self._witnesses: dict[str, KnownWitness] = {}
        self._groups: dict[str, Group] = {}
        self._quorum: str | None = None
        self._members: set[str] = set()
        self._keys: dict[int, set[bytes]] = {SIGNS_NOTES: set(), COSIGNS: set()}

    def line(self, words: list[str]) -> None:
        kinds: dict[str, Callable[[list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum_line,
        }
        kind = kinds.get(words[0])
        if kind is None:
            _refuse(f"{words[0][:40]!r} is none of log, witness, group, quorum")
        kind(words[1:])

    def policy(self) -> WitnessPolicy:
        if self._quorum is None:
            _refuse("the policy has no quorum line")
        return WitnessPolicy(tuple(self._logs), self._witnesses, self._groups, self._quorum)

    def _log(self, words: list[str]) -> None:
        key, url = _optional_url(words, 1, "log KEY [URL]")
        self._key(key, SIGNS_NOTES)
        _require_room(len(self._logs))
        self._logs.append(KnownLog(key, url))

    def _witness(self, words: list[str]) -> None:
        key, url = _optional_url(words, 2, "witness NAME KEY [URL]")
        self._key(key, COSIGNS)
        _require_room(len(self._witnesses))
        self._witnesses[self._new(words[0])] = KnownWitness(words[0], key, url)

    def _group(self, words: list[str]) -> None:
        if len(words) < 3:
            _refuse("a group reads: group NAME all|any|NUMBER MEMBER…")
        name, threshold, *members = words
        for member in members:
            if not self._defined(member):
                _refuse(f"{member[:100]!r} is not defined before it is used")
            if member in self._members:
                _refuse(f"{member[:100]!r} is a member already; it would count twice")
            self._members.add(member)
        _require_room(len(self._groups))
        self._groups[self._new(name)] = Group(_threshold(threshold, len(members)), tuple(members))

    def _quorum_line(self, words: list[str]) -> None:
        if len(words) != 1:
            _refuse("a quorum reads: quorum NAME")
        if self._quorum is not None:
            _refuse("the policy has a quorum already")
        if words[0] != NOBODY and not self._defined(words[0]):
            _refuse(f"{words[0][:100]!r} is not defined before it is used")
        self._quorum = words[0]

    def _key(self, text: str, kind: int) -> None:
        key: KeyText = parse_key(text)
        if key.kind != kind or len(key.public) != _PUBLIC_BYTES:
            _refuse(f"the key of {key.name!r} is not of kind {kind} (Ed25519), which belongs here")
        if key.public in self._keys[kind]:
            _refuse(f"the key of {key.name!r} is in the policy already")
        self._keys[kind].add(key.public)

    def _defined(self, name: str) -> bool:
        return name in self._witnesses or name in self._groups

    def _new(self, name: str) -> str:
        if name == NOBODY or self._defined(name):
            _refuse(f"the name {name[:100]!r} is taken")
        return name


def _optional_url(words: list[str], before: int, form: str) -> tuple[str, str | None]:
    """The key, which is word number `before`, and the URL, if there is one after it."""
    if not before <= len(words) <= before + 1:
        _refuse(f"the line reads: {form}")
    return words[before - 1], words[before] if len(words) > before else None


def _threshold(written: str, members: int) -> int:
    if written in ("any", "all"):
        return 1 if written == "any" else members
    if not (written.isascii() and written.isdigit() and len(written) <= 3 and 1 <= int(written) <= members):
        _refuse(f"{written[:40]!r} is none of all, any, or a number from 1 to {members}")
    return int(written)


def _require_room(count: int) -> None:
    if count >= DEFINITIONS_MAX:
        _refuse(f"there are more than {DEFINITIONS_MAX} of a kind")


def _refuse(detail: str) -> NoReturn:
    raise ConsentError("malformed", detail)
