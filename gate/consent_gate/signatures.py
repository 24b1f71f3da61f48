"""Ed25519 keys: they sign notes, cosign checkpoints, and sign domain-separated messages.

The text form of the keys and of the signatures on notes is C2SP signed-note's, `consent_domain.notes`;
cosignatures are those of C2SP tlog-cosignature, kind 0x04.
"""

from __future__ import annotations

from typing import ClassVar, Self

from consent_domain.errors import ConsentError, Unreadable
from consent_domain.feed import (
    PAGE_CONTEXT,
    Page,
    Signed,
    decode_page,
    decode_signed,
    encode_page,
    encode_signed,
)
from consent_domain.notes import COSIGNS, SIGNS_NOTES, KeyText, NoteSignature, is_key_name, parse_key
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED_BYTES = 32
TIME_BYTES = 8
"""Of the time in front of a cosignature's 64 bytes: seconds since 1970, big-endian."""
TIME_MAX = (1 << 63) - 1


class WrongSignature(Unreadable):
    """A message that the pinned key did not sign: tampered with, or by another key."""


class WrongKey(WrongSignature):
    """Pages of a feed that say themselves that another key than the pinned one signed them."""

    def __init__(self, signed_by: bytes, pinned: bytes) -> None:
        super().__init__(
            f"the feed is signed by the key {signed_by.hex()}, and {pinned.hex()} is given: give the one "
            "that `consent-ledger keys feed` prints (verifier_key, --feed-key, CONSENT_FEED_KEY); if it was "
            "right before, another ledger answers at this address"
        )
        self.code = "wrong_key"


class _PublicKey:
    """An Ed25519 public key under a name, of one kind."""

    kind: ClassVar[int]

    def __init__(self, name: str, public: bytes) -> None:
        if not is_key_name(name):
            raise ConsentError(
                "invalid_value", f"{name[:64]!r} cannot name a key: empty, too long, or has a space or plus"
            )
        text = KeyText(name, self.kind, public)
        self.name = name
        self.key_hash = text.key_hash
        self._text = text
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` writes. Raises ConsentError `invalid_value` for anything else."""
        try:
            key = parse_key(text.strip())
            if key.kind == cls.kind:
                return cls(key.name, key.public)
        except (ConsentError, ValueError) as error:
            raise ConsentError(
                "invalid_value",
                f"{text[:200]!r} is no verifier key, or mistyped; keys read name+hash+base64",
            ) from error
        raise ConsentError(
            "invalid_value", f"the verifier key of {key.name!r} is of kind {key.kind}, not {cls.kind}"
        )

    def __str__(self) -> str:
        return str(self._text)

    def _verify(self, message: bytes, key_hash: bytes, signature: bytes) -> None:
        if key_hash != self.key_hash:
            raise WrongSignature(f"signed by the key {key_hash.hex()}, and {self.key_hash.hex()} is pinned")
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise WrongSignature("the signature does not fit the message") from None

    def _require_named(self, signature: NoteSignature) -> None:
        if signature.name != self.name:
            raise WrongSignature(f"signed by {signature.name!r}, and the key of {self.name!r} is pinned")


class Verifier(_PublicKey):
    """A public key that is pinned."""

    kind = SIGNS_NOTES

    def renamed(self, name: str) -> Verifier:
        """The same public key under the name of another log: of a later epoch of the same ledger."""
        return Verifier(name, self._text.public)

    def verify(self, context: bytes, message: bytes, key_hash: bytes, signature: bytes) -> None:
        """Return if this key signed `context || message`; raise WrongSignature otherwise."""
        self._verify(context + message, key_hash, signature)

    def verify_note(self, text: str, signature: NoteSignature) -> None:
        """Return if `signature` is this key's on the text of a note; raise WrongSignature otherwise."""
        self._require_named(signature)
        self._verify(text.encode(), signature.key_hash, signature.signature)


class CosignatureVerifier(_PublicKey):
    """A witness's public key that is pinned (C2SP tlog-cosignature, Ed25519)."""

    kind = COSIGNS

    def verify(self, text: str, signature: NoteSignature) -> int:
        """When this witness cosigned the checkpoint `text`, in seconds since 1970.

        Raises WrongSignature if it never did, or for a time that cannot be.
        """
        self._require_named(signature)
        time = int.from_bytes(signature.signature[:TIME_BYTES], "big")
        if time > TIME_MAX:
            raise WrongSignature(f"the cosignature of {self.name!r} has no possible time")
        self._verify(_cosigned(text, time), signature.key_hash, signature.signature[TIME_BYTES:])
        return time


class Signer:
    """A private key, from a seed of 32 bytes."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key, public = _private_key(seed)
        self.verifier = Verifier(name, public)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """The signature of `context || message`, 64 bytes, about 50 µs."""
        return self._key.sign(context + message)

    def sign_note(self, text: str) -> NoteSignature:
        """The signature of the text of a note, under this key's name."""
        return NoteSignature(self.verifier.name, self.verifier.key_hash, self._key.sign(text.encode()))


class Cosigner:
    """A witness's private key, from a seed of 32 bytes. It must sign nothing else, nor under another name."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key, public = _private_key(seed)
        self.verifier = CosignatureVerifier(name, public)

    def cosign(self, text: str, timestamp: int) -> NoteSignature:
        """The cosignature of the checkpoint `text` at `timestamp`, seconds since 1970.

        It says that this is the largest tree of that log which the witness has seen by then.
        """
        assert 0 <= timestamp <= TIME_MAX, "a cosignature has 63 bits for its time"
        signature = timestamp.to_bytes(TIME_BYTES, "big") + self._key.sign(_cosigned(text, timestamp))
        return NoteSignature(self.verifier.name, self.verifier.key_hash, signature)


def _private_key(seed: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    """The key of a seed, and its public key."""
    if len(seed) != SEED_BYTES:
        raise ConsentError("invalid_value", f"the seed of a key has {SEED_BYTES} bytes, not {len(seed)}")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _cosigned(text: str, timestamp: int) -> bytes:
    """What a witness signs: a line that no note begins with, the time, the checkpoint."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def sign_page(page: Page, signer: Signer) -> bytes:
    """The bytes of a page and its signature, as the feed sends them. Inverse of `read_page`."""
    message = encode_page(page)
    signature = signer.sign(PAGE_CONTEXT, message)
    return encode_signed(Signed(message, signer.verifier.key_hash, signature))


def read_page(data: bytes, verifier: Verifier | None) -> Page:
    """The page of `data`, verified before anything in it is read; without a pinned key, as it came.

    Raises WrongSignature if another key or nobody signed it, of these WrongKey if it says so itself, and
    Unreadable if it is no page or cannot be.
    """
    signed = decode_signed(data)
    if verifier is not None:
        if signed.key_hash != verifier.key_hash:
            raise WrongKey(signed.key_hash, verifier.key_hash)
        verifier.verify(PAGE_CONTEXT, signed.message, signed.key_hash, signed.signature)
    return decode_page(signed.message)
