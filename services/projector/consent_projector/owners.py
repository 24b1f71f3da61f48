"""A name for each holder of leases."""

from __future__ import annotations

import os
import secrets
import socket


def owner_name() -> str:
    """A name for a holder of leases that nobody else ever has; the host and process id are for people."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
