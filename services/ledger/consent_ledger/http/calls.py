"""One call of an operation, however it came in, and its answer; the operation's own description.

Litestar's handlers and the dispatcher in front of it make the same `Call` by the same `admit`, and
hand it to the same function: what is authorised, limited, refused and answered is one thing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from consent_domain.errors import ConsentError
from consent_domain.identifiers import require_id

from consent_ledger.http import permissions
from consent_ledger.http.json_body import require_shallow
from consent_ledger.key_ring import Principal

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

JSON = "application/json"
NDJSON = "application/x-ndjson"
COMMAND_BYTES_MAX = 256 * 1024
"""A single command: four times the largest event, for what only its words take."""
BATCH_BYTES_MAX = 16 * 1024 * 1024
"""100,000 ids of 128 characters, quoted, and what surrounds them."""
COMMANDS_BYTES_MAX = 8 * 1024 * 1024
IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
QUESTION = re.compile(rb"[A-Za-z0-9_-]{1,64}")
"""What `Consent-Question` may be."""

Headers = Mapping[bytes, bytes]
"""Headers by name, in lower case."""
_ONCE = (b"authorization", b"content-length", b"content-type", b"idempotency-key", b"if-match")
Receive = Callable[[], Awaitable[Any]]


class Parameter(NamedTuple):
    """A query parameter: its name, a JSON Schema of its text, and a sentence."""

    name: str
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an operation is for, who may call it, what it takes and answers: the description reads it."""

    id: str
    tag: str
    summary: str
    roles: frozenset[str]
    body: Any = None
    """The message of the body, or None if it takes none."""
    from_path: tuple[str, ...] = ()
    """Members of `body` that the path gives instead."""
    body_type: str = JSON
    body_bytes_max: int = COMMAND_BYTES_MAX
    streamed: bool = False
    """The handler reads the body itself, bit by bit."""
    parameters: tuple[Parameter, ...] = ()
    answer: Any = None
    """The message of the answer; None where it is no JSON."""
    answer_type: str = JSON
    statuses: tuple[int, ...] = (200,)
    unseals: bool = False
    """The key needs the right to unseal beside its role."""
    writes: bool = False
    """It takes `Idempotency-Key`, `If-Match` and `?dryRun=`."""
    echoes: bool = False
    """It takes `Consent-Question`, and its answer carries it back."""
    refusals: tuple[str, ...] = ()
    """Codes that only this operation answers with; the common ones are added to all."""

    @property
    def is_public(self) -> bool:
        """Whether no key is needed. No principal ever has this role."""
        return self.roles == permissions.PUBLIC


DRY_RUN = Parameter(
    "dryRun", {"type": "string", "enum": ["true", "false"]}, "`true`: say what would happen, record nothing."
)


class Answer(NamedTuple):
    """A status, a body, and headers beside the content's type and length."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = []
    media_type: str = JSON


@dataclass(slots=True)
class Call:
    """Who calls, and with what. `body` is whole, within its limit, and not too deep."""

    worker: Worker
    principal: Principal
    headers: Headers
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def id_in_path(self, name: str) -> str:
        """The id that the path names. Raises ConsentError `invalid_id`."""
        return require_id(self.path[name], name)

    @property
    def idempotency_key(self) -> str | None:
        """The `Idempotency-Key`: 1 to 255 visible characters of ASCII. Raises ConsentError `malformed`."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return None
        if not 1 <= len(given) <= IDEMPOTENCY_KEY_CHARACTERS_MAX or not all(
            32 < byte < 127 for byte in given
        ):
            raise ConsentError("malformed", "Idempotency-Key takes 1 to 255 visible ASCII characters")
        return given.decode()

    @property
    def expected_version(self) -> int | None:
        """The version in `If-Match: "<version>"`. Raises ConsentError `malformed` for another form."""
        given = self.headers.get(b"if-match")
        if given is None:
            return None
        digits = given[1:-1]
        if not (given[:1] == given[-1:] == b'"' and digits.isdigit() and len(digits) <= 10):
            raise ConsentError("malformed", 'If-Match takes the ETag of a read, such as "7"')
        return int(digits)

    @property
    def echo(self) -> list[tuple[bytes, bytes]]:
        """The header by which a caller knows the answer for its own. Raises ConsentError `malformed`."""
        given = self.headers.get(b"consent-question")
        if given is None:
            return []
        if not QUESTION.fullmatch(given):
            raise ConsentError("malformed", "Consent-Question takes 1 to 64 of A-Z a-z 0-9 _ -")
        return [(b"consent-question", given)]

    @property
    def dry_run(self) -> bool:
        """Whether `?dryRun=true`."""
        return self.query.get(DRY_RUN.name) == "true"

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """A whole number of the query within its bounds. Raises ConsentError `malformed`."""
        given = self.query.get(name)
        return default if given is None else whole_number(given, name, lowest, highest)


def whole_number(text: str, name: str, lowest: int, highest: int) -> int:
    """A whole number within its bounds. Raises ConsentError `malformed`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or not lowest <= int(text) <= highest:
        raise ConsentError("malformed", f"{name} is a whole number from {lowest} to {highest}")
    return int(text)


def named(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers by name (lower case). Raises ConsentError `malformed` if one that matters comes twice."""
    pairs = list(headers)
    found = dict(pairs)
    if len(found) != len(pairs):
        for name in _ONCE:
            if sum(name == other for other, _ in pairs) > 1:
                raise ConsentError("malformed", f"the header {name.decode()} comes twice")
    return found


def authorise(worker: Worker, operation: Operation, headers: Headers) -> Principal | None:
    """Who calls, None on public operations.

    Raises ConsentError `unauthenticated`, `forbidden`, or `unavailable` if the keys are not known.
    """
    if operation.is_public:
        return None
    principal = worker.keys.authenticate(headers.get(b"authorization"))
    permissions.require_role(principal, operation.roles)
    if operation.unseals:
        permissions.require_unsealing(principal)
    return principal


def query_of(operation: Operation, query_string: bytes) -> dict[str, str]:
    """The parameters of the query.

    Raises ConsentError `malformed` for one that the operation does not take, so that a mistyped
    `dryRun` does not write.
    """
    if not query_string:
        return {}
    taken = {parameter.name: parameter for parameter in operation.parameters}
    if operation.writes:
        taken[DRY_RUN.name] = DRY_RUN
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError as error:
        raise ConsentError("malformed", "the query cannot be read") from error
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in taken or name in query:
            known = ", ".join(sorted(taken)) or "none"
            what = repr(name) if name.isidentifier() and len(name) <= 64 else "something else"
            raise ConsentError("malformed", f"the query names {what}; once each it may name: {known}")
        words = taken[name].schema.get("enum")
        if words is not None and value not in words:
            raise ConsentError("malformed", f"{name} is one of {', '.join(words)}")
        query[name] = value
    return query


def require_type(operation: Operation, headers: Headers) -> None:
    """Raises ConsentError `unsupported_media_type` unless the body is of the operation's type."""
    given = headers.get(b"content-type")
    kind = (given or b"").split(b";", 1)[0].strip().lower()
    if kind != operation.body_type.encode():
        raise ConsentError("unsupported_media_type", f"send the body as {operation.body_type}")


async def body_of(operation: Operation, headers: Headers, receive: Receive) -> bytes:
    """The whole body.

    Raises ConsentError `too_large` as soon as that is known, and `unsupported_media_type`.
    """
    require_type(operation, headers)
    limit = operation.body_bytes_max
    announced = headers.get(b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body") and size <= limit:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise ConsentError("malformed", "the connection ended before the body did")
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> ConsentError:
    return ConsentError("too_large", f"the body may have {limit} bytes", bytes_max=limit)


async def admit(
    worker: Worker,
    operation: Operation,
    headers: Headers,
    query_string: bytes,
    path: dict[str, str],
    receive: Receive,
) -> Call:
    """The call, authorised, with its query and body. Raises ConsentError before anything is done."""
    principal = authorise(worker, operation, headers)
    query = query_of(operation, query_string)
    body = b""
    if operation.streamed:
        require_type(operation, headers)
    elif operation.body is not None:
        body = await body_of(operation, headers, receive)
        require_shallow(body)
    return Call(worker, principal or NOBODY, headers, path, query, body)


NOBODY = Principal("", "public", None, None, "")
"""Who calls public operations."""

encode = msgspec.json.Encoder().encode
