"""Sealing: personal data becomes a `Sealed` field before anything queues, stores or prints it.

AES-256-GCM under the person's key for the stream. The stream, the event's id and the field's name are
authenticated beside it, so that a sealed field proves nothing anywhere but where it was written.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from consent_domain.errors import ConsentError
from consent_domain.events import Sealed
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_ledger.keystore import KeyStore, PersonKey

SUBJECT_BYTES_MAX = 1_024
"""Names and addresses are short; what is longer would eat the event's room."""

_NONCE_BYTES = 12


class Tampered(ConsentError):
    """A sealed field does not belong where it stands, or is not what was sealed."""

    def __init__(self, detail: str) -> None:
        super().__init__("internal", detail)


class Place(NamedTuple):
    """Where a sealed field stands: no other place opens it."""

    stream: str
    event_id: UUID
    field: str

    def authenticated(self) -> bytes:
        """The place in bytes, each part after its length, so that no two places are written alike."""
        parts = [part.encode() for part in ("consent.v1.Sealed", self.stream, str(self.event_id), self.field)]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Sealer:
    """Seals and unseals with the keys of a key store. The store works in a thread, never in the loop."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def ref_of(self, subject: str) -> str:
        """The ref of a person: see KeyStore."""
        return self._keys.ref_of(subject)

    async def seal(self, subject: str, stream: str, event_id: UUID, field: str) -> Sealed:
        """`subject` sealed for one field; the person's key is durable before this returns.

        Raises ConsentError `too_large` above SUBJECT_BYTES_MAX, `invalid_value` for text that is no
        Unicode, and what KeyStore.keys_for raises. A person new to the stream costs a durable write, a
        known one none.
        """
        (sealed,) = await self.seal_many([(subject, Place(stream, event_id, field))])
        return sealed

    async def seal_many(self, subjects: Sequence[tuple[str, Place]]) -> list[Sealed]:
        """Each subject sealed for its place, in the order given: one durable write for all new keys.

        Raises as `seal`, for all or none.
        """
        plain = [_encoded(subject) for subject, _ in subjects]
        wanted = [(place.stream, subject) for subject, place in subjects]
        keys = await asyncio.to_thread(self._keys.keys_for, wanted)
        return [
            _sealed(key, data, place) for key, data, (_, place) in zip(keys, plain, subjects, strict=True)
        ]

    async def unseal(self, sealed: Sealed, stream: str, event_id: UUID, field: str) -> str:
        """The subject, if the field stands where it was sealed.

        Raises KeyErased for an erased person or stream, Tampered for a field that was moved or changed, and
        what KeyStore.key_of raises besides.
        """
        key = await asyncio.to_thread(self._keys.key_of, sealed.key_id)
        place = Place(stream, event_id, field)
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, place.authenticated()).decode()
        except (InvalidTag, ValueError) as error:
            raise Tampered(
                f"the sealed {field} of event {event_id} on {stream} was moved or changed"
            ) from error


def _encoded(subject: str) -> bytes:
    try:
        data = subject.encode()
    except UnicodeEncodeError as error:
        raise ConsentError("invalid_value", "the subject holds half a surrogate pair") from error
    if len(data) > SUBJECT_BYTES_MAX:
        raise ConsentError("too_large", f"a subject takes at most {SUBJECT_BYTES_MAX} bytes")
    return data


def _sealed(key: PersonKey, data: bytes, place: Place) -> Sealed:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    ciphertext = AESGCM(key.key).encrypt(nonce, data, place.authenticated())
    return Sealed(key_id=key.key_id, nonce=nonce, ciphertext=ciphertext)
