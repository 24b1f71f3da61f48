"""The words that events name by their SHA-256: of policies and of notices, kept for whoever asks later."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

import asyncpg
import msgspec
from consent_domain.errors import ConsentError
from consent_plumbing.postgres import acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.http import messages
from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.json_body import decode

TEXT_BYTES_MAX = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORDS = "text/"
_MEDIA_TYPE = "text/{}; charset=utf-8"
_decode = msgspec.json.Decoder(messages.GivenText)


async def keep(call: Call) -> Answer:
    """Keep the text in the body. Sent again, it is kept already: the answer is the same."""
    given = decode(_decode, call.body)
    if not given.text.strip():
        raise ConsentError("invalid_value", "text is empty: send the words themselves")
    try:
        content = given.text.encode()
    except UnicodeEncodeError as error:
        raise ConsentError("invalid_value", "text holds half a surrogate pair") from error
    digest = hashlib.sha256(content).digest()
    async with acquire(call.worker.pool) as connection:
        with suppress(asyncpg.UniqueViolationError):
            await connection.execute(
                STATEMENTS["insert_blob"], digest, _MEDIA_TYPE.format(given.format), content
            )
        kept = await connection.fetchrow(STATEMENTS["read_blob"], digest)
    if kept is None or not kept["media_type"].startswith(_WORDS):
        raise ConsentError("already_exists", "these very bytes are kept already, and not as words")
    return Answer(201, encode(messages.KeptText(text_sha256=digest.hex(), bytes=len(content))))


async def read(call: Call) -> Answer:
    """The text that the path names, exactly as it was hashed."""
    named = call.path["sha256"]
    if _SHA256.fullmatch(named) is None:
        raise ConsentError("invalid_id", "a text is named by its SHA-256, 64 lower-case hexadecimal digits")
    async with acquire(call.worker.pool) as connection:
        row = await connection.fetchrow(STATEMENTS["read_blob"], bytes.fromhex(named))
    if row is None or not row["media_type"].startswith(_WORDS):
        raise ConsentError("not_found", f"no text with the SHA-256 {named} is kept")
    # What is shown must be words, whatever a browser makes of them.
    headers = [
        (b"cache-control", b"private, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox"),
    ]
    return Answer(200, row["body"], headers, row["media_type"])
