"""The master key: it wraps the keys of persons, and turns a person into an index that names nobody.

It is 32 random bytes, in a file that only the service may read or in the environment. Two keys
are derived from it (HKDF, RFC 5869), one a use, so that neither use can weaken the other.
Whoever loses it loses every sealed field: keep a copy where the ledger's backups are not.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from consent_domain.errors import ConsentError
from consent_gate.durable import sync_folder
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VARIABLE = "CONSENT_MASTER_KEY"
BYTES = 32
_NONCE_BYTES = 12


class WrongMasterKey(ConsentError):
    """The master key is missing, unreadable, or not the one that wrapped what it is asked to open."""

    def __init__(self, detail: str) -> None:
        super().__init__("unavailable", detail)


class MasterKey(Protocol):
    """What the key store needs of a master key; a key management service can stand behind it."""

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """`key` encrypted, so that only the same `bound_to` opens it."""

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Inverse of `wrap`. Raises WrongMasterKey for another master key, other bytes or `bound_to`."""

    def person(self, subject: str) -> bytes:
        """The index of a person, 32 bytes: the same for the same subject, and telling nothing of it."""


class LocalMasterKey:
    """A master key held by this process."""

    def __init__(self, secret: bytes) -> None:
        """Take 32 bytes. Raises WrongMasterKey for any other length."""
        if len(secret) != BYTES:
            raise WrongMasterKey(f"a master key has {BYTES} bytes, this one has {len(secret)}")
        self._wrapping = AESGCM(_derived(secret, b"consent-ledger/wrap-person-keys"))
        self._indexing = _derived(secret, b"consent-ledger/person-index")

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """`key` encrypted with AES-256-GCM under a random nonce, `bound_to` authenticated beside it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, key, bound_to)

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Inverse of `wrap`."""
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError) as error:
            raise WrongMasterKey(
                "the key store was wrapped by another master key, or was changed by somebody else"
            ) from error

    def person(self, subject: str) -> bytes:
        """HMAC-SHA256 of the subject without regard to case, form of characters and outer blanks.

        Two spellings of one address are one person: an erasure must not miss the other's key.
        """
        same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", subject).casefold()).strip()
        return hmac.digest(self._indexing, same.encode("utf-8", "surrogatepass"), sha256)


def ensure_master_key(path: Path) -> LocalMasterKey:
    """The master key of the file, made now (mode 0600, durable) if there is none.

    Of several processes that make it at once one wins and all read the same. Raises WrongMasterKey
    for a file that others may read or that holds no key, OSError where it cannot be written.
    """
    if not path.exists():
        _create(path, base64.b64encode(secrets.token_bytes(BYTES)) + b"\n")
    return _read(path)


def load_master_key(path: Path | None, environment: Mapping[str, str] = os.environ) -> LocalMasterKey:
    """The master key of `CONSENT_MASTER_KEY` (base64), else of the file. Nothing is made.

    Raises WrongMasterKey if neither or both are given, or for what `ensure_master_key` refuses:
    a guess between two keys could be the wrong one.
    """
    encoded = environment.get(VARIABLE, "")
    if encoded and path is not None:
        raise WrongMasterKey(f"{VARIABLE} and {VARIABLE}_FILE are both set; set one")
    if encoded:
        return LocalMasterKey(_decoded(encoded, VARIABLE))
    if path is None:
        raise WrongMasterKey(f"set {VARIABLE} or {VARIABLE}_FILE")
    return _read(path)


def _derived(secret: bytes, use: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=BYTES, salt=None, info=use).derive(secret)


def _decoded(encoded: str, where: str) -> bytes:
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise WrongMasterKey(f"{where} holds no base64") from error


def _read(path: Path) -> LocalMasterKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(1024)
    except OSError as error:
        raise WrongMasterKey(f"the master key {path} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WrongMasterKey(f"others may read the master key {path}; run chmod 600 on it")
    return LocalMasterKey(_decoded(content.decode("latin-1"), str(path)))


def _create(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)  # unlike a rename it never replaces a key that another process made
        except FileExistsError:
            return
    finally:
        unfinished.unlink()
    sync_folder(path.parent)
