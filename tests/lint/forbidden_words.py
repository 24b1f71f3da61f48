"""No file of the tree names one machine's folders or a package index's host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Written in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    r"(?<![\w.}/-])/(?:"
    + "work|root"
    + r")/|/tmp/"
    + r"team|"
    + r"https?://[^\s/]*(?:pypi|pythonhosted|/simple)"
)


def main() -> int:
    root = Path(__file__).resolve().parents[2]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    )
    wrong = 0
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = root / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN.search(line):
                print(f"{name}:{number}: {line.strip()[:100]}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
