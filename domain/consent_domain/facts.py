"""Facts: all that deciding needs to know of a workspace, an organisation, and of everybody.

They are folded from events by `evolve`, kept whole in views and replicas, and hold no
people and no evidence. Packed as MessagePack arrays, the same facts are the same bytes.
"""

from __future__ import annotations

import msgspec

from consent_domain.instants import Micros
from consent_domain.policy import PolicyRules, Profile
from consent_domain.purposes import Purpose, Selector

NOTHING, OUTSIDE, EVERYTHING = 0, 1, 2
"""How much of what it names an objection stops now: nothing yet, what reaches outside, everything."""


class Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fact that packs as an array."""


class Attributes(Packed, frozen=True):
    """What the customer is from `since` on."""

    since: Micros
    position: int
    plan: str
    region: str
    contract: str
    organisation: str

    @property
    def profile(self) -> Profile:
        """What a policy may look at."""
        return Profile(self.plan, self.region, self.contract, self.organisation)


class OptOut(Packed, frozen=True):
    """An objection. `position` is that of the event which last made it count for more."""

    request: str
    selector: Selector
    since: Micros
    position: int
    breadth: int
    processed: bool = False
    ended: Micros | None = None
    rejected: bool = False
    permit_until: Micros | None = None


class OptIn(Packed, frozen=True):
    """Explicit consent, or a refusal of it. `position` is that of the grant, `ended_position` of its end."""

    id: str
    shown: tuple[Purpose, ...]
    keys: tuple[str, ...]
    since: Micros
    position: int
    expires: Micros | None = None
    covers_before: bool = False
    ended: Micros | None = None
    ended_position: int = 0
    refused: bool = False


class Choices(Packed, frozen=True):
    """What a workspace or an organisation chose, in the order of recording."""

    opt_outs: tuple[OptOut, ...] = ()
    opt_ins: tuple[OptIn, ...] = ()


class Succession(Packed, frozen=True):
    """The other workspace that data from before `since` may belong to; `predecessor`: it was here before."""

    other: str
    predecessor: bool
    since: Micros
    position: int


class WorkspaceFacts(Packed, frozen=True):
    """Everything that decides about one workspace. `position` is that of its enrolment: its ordinal."""

    kind: str
    position: int
    customer_since: Micros
    attributes: tuple[Attributes, ...]
    choices: Choices = Choices()
    closed: Micros | None = None
    closed_position: int = 0
    closed_by_succession: bool = False
    erased_position: int = 0
    successions: tuple[Succession, ...] = ()
    quarantined: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing happened since enrolment, so that it decides as its class does."""
        return (
            len(self.attributes) == 1
            and not self.choices.opt_outs
            and not self.choices.opt_ins
            and self.closed is None
            and not self.erased_position
            and not self.successions
            and not self.quarantined
        )


class OrganisationFacts(Packed, frozen=True):
    """An organisation's choices bind all its workspaces."""

    position: int
    choices: Choices = Choices()
    quarantined: int = 0


class Published(Packed, frozen=True):
    """A version of the policy, in force from `effective` until the next one's."""

    version: str
    position: int
    effective: Micros
    direction: str
    rules: PolicyRules


class Suspension(Packed, frozen=True):
    """A stop of one purpose for everybody."""

    key: str
    since: Micros
    position: int
    ended: Micros | None = None


class Book(Packed, frozen=True):
    """What holds for everybody: policies in the order of their taking effect, stops, the log's own state."""

    policies: tuple[Published, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    opened: int = 0
    quarantined: int = 0
    quarantined_purposes: tuple[str, ...] = ()


Facts = WorkspaceFacts | OrganisationFacts | Book

pack = msgspec.msgpack.Encoder().encode
unpack_workspace = msgspec.msgpack.Decoder(WorkspaceFacts).decode
unpack_organisation = msgspec.msgpack.Decoder(OrganisationFacts).decode
unpack_book = msgspec.msgpack.Decoder(Book).decode

BOOK_ID = "-"
"""The one id of the kind `book`."""


def home_of(stream: str) -> tuple[str, str] | None:
    """Which facts a stream folds into: (`workspace` | `organisation` | `book`, id), or None for no facts."""
    kind, _, name = stream.partition("/")
    if kind in ("workspace", "organisation"):
        return kind, name
    return ("book", BOOK_ID) if kind in ("policy", "purpose", "log") else None
