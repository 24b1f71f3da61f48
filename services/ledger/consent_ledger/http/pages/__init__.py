"""The page that shows the API's description: one file of ours, without anything from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

DESCRIPTION_PAGE = (Path(__file__).parent / "description.html").read_bytes()


def _source_of(element: bytes) -> str:
    """The CSP source that allows exactly the page's own inline element (CSP Level 3, §2.3.1)."""
    found = re.search(rb"<%s>(.*?)</%s>" % (element, element), DESCRIPTION_PAGE, re.DOTALL)
    assert found is not None, f"the page has no {element.decode()}"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_source_of(b'script')}; style-src {_source_of(b'style')}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from outside, and nothing but the page's own script runs."""
