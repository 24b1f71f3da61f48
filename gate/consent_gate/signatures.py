"""Ed25519 keys in the text form of C2SP signed-note, and signatures of domain-separated messages.

A verifier key reads `name+hash+base64(0x01 || public key)`, where `hash` is the first four
bytes of SHA-256(name || 0x0A || 0x01 || public key) in hex (C2SP signed-note, "Signatures").
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from hashlib import sha256

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
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ED25519 = b"\x01"
SEED_BYTES = 32


class WrongSignature(Unreadable):
    """A message that the pinned key did not sign: tampered with, or by another key."""


def _key_hash(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _require_name(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise ConsentError("invalid_value", f"{name[:64]!r} cannot name a key: empty, or has a space or plus")
    return name


class Verifier:
    """A public key that is pinned."""

    def __init__(self, name: str, public: bytes) -> None:
        self.name = _require_name(name)
        self.key_hash = _key_hash(name, public)
        self._public = public
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The key that `text` writes. Raises ConsentError `invalid_value` for anything else."""
        parts = text.strip().split("+", 2)
        try:
            name, hashed, encoded = parts
            blob = b64decode(encoded, validate=True)
            verifier = cls(name, blob[1:])
        except (ValueError, binascii.Error) as error:
            raise ConsentError(
                "invalid_value", f"{text[:200]!r} is no verifier key; keys read name+hash+base64"
            ) from error
        if blob[:1] != _ED25519 or hashed != verifier.key_hash.hex():
            raise ConsentError("invalid_value", f"the verifier key of {name!r} is mistyped or not Ed25519")
        return verifier

    def __str__(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}+{b64encode(_ED25519 + self._public).decode()}"

    def verify(self, context: bytes, message: bytes, key_hash: bytes, signature: bytes) -> None:
        """Return if this key signed `context || message`; raise WrongSignature otherwise."""
        if key_hash != self.key_hash:
            raise WrongSignature(f"signed by the key {key_hash.hex()}, and {self.key_hash.hex()} is pinned")
        try:
            self._key.verify(signature, context + message)
        except InvalidSignature:
            raise WrongSignature("the signature does not fit the message") from None


class Signer:
    """A private key, from a seed of 32 bytes."""

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConsentError("invalid_value", f"the seed of a key has {SEED_BYTES} bytes, not {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = Verifier(name, public)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """The signature of `context || message`, 64 bytes, about 50 µs."""
        return self._key.sign(context + message)


def sign_page(page: Page, signer: Signer) -> bytes:
    """The bytes of a page and its signature, as the feed sends them. Inverse of `read_page`."""
    message = encode_page(page)
    signature = signer.sign(PAGE_CONTEXT, message)
    return encode_signed(Signed(message, signer.verifier.key_hash, signature))


def read_page(data: bytes, verifier: Verifier | None) -> Page:
    """The page of `data`, verified before anything in it is read; without a pinned key, as it came.

    Raises WrongSignature if another key or nobody signed it, Unreadable if it is no page or cannot be.
    """
    signed = decode_signed(data)
    if verifier is not None:
        verifier.verify(PAGE_CONTEXT, signed.message, signed.key_hash, signed.signature)
    return decode_page(signed.message)
