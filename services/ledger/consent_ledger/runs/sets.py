"""Sets of workspaces, as manifests name them: 64-bit Roaring bitmaps over ordinals.

A set comes from outside. pyroaring looks at all of it before it is used, whatever the bytes (since
1.0); what it cannot know is how much its reader can bear: a few bytes may stand for billions.
"""

from __future__ import annotations

import hashlib
from typing import Any

from consent_domain.errors import ConsentError
from consent_domain.manifest import SET_BYTES_MAX, SET_SIZE_MAX, Manifest
from pyroaring import BitMap, BitMap64

MANIFEST_TYPE = "application/vnd.consent.manifest+json"
SET_TYPE = "application/vnd.consent.ordinals+roaring"


def set_of(data: bytes) -> Any:
    """The bitmap in `data`. Raises ConsentError `invalid_value` for anything else, or too much of it."""
    if len(data) > SET_BYTES_MAX:
        raise ConsentError("too_large", f"the set takes {len(data)} bytes of at most {SET_BYTES_MAX}")
    try:
        ordinals = BitMap64.deserialize(data)
    except (ValueError, LookupError) as error:
        raise ConsentError(
            "invalid_value", f"set is no 64-bit Roaring bitmap in the portable format: {error}"
        ) from error
    if len(ordinals) > SET_SIZE_MAX:
        raise ConsentError("invalid_value", f"set names {len(ordinals)} ordinals of at most {SET_SIZE_MAX}")
    return ordinals


def claimed_set(manifest: Manifest, data: bytes) -> Any:
    """The bitmap that the manifest names. Raises ConsentError `manifest_refused` for another one."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.set_sha256:
        raise ConsentError("manifest_refused", f"setSha256 names another set than the one sent, {digest}")
    ordinals = set_of(data)
    if len(ordinals) != int(manifest.workspaces):
        raise ConsentError(
            "manifest_refused", f"workspaces says {manifest.workspaces}, and the set has {len(ordinals)}"
        )
    return ordinals


def holds(bits: bytes, low: int) -> bool:
    """Whether the bitmap of a container has an ordinal's low 16 bits. One that cannot be read holds all."""
    try:
        return low in BitMap.deserialize(bits)
    except (ValueError, LookupError):
        return True
