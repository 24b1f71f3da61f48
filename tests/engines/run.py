"""Runs the shared suite for the engines that are too heavy for the project's own environment.

    .venv/bin/python tests/engines/run.py [--uv PATH] [--cuda] [ENGINE …]

Each gets an environment of its own in .venv-engines, with what gate/environments pins. What this machine
cannot have is skipped by name: Spark without Java, PyTorch where the package index has only a build for
CUDA, of some gigabytes (unless `--cuda`), anything that the index lacks. Exit code 1 if a suite fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-engines"
INSTALL_SECONDS_MAX, SUITE_SECONDS_MAX = 1_200, 900
TESTS = {"datasets": "datasets", "ray": "ray and not array", "spark": "spark", "torch": "torch"}
"""The tests of each engine, as pytest chooses them."""


class Cannot(Exception):
    """Why an engine cannot be had here."""


class Given(NamedTuple):
    """From the command line."""

    uv: str
    cuda: bool
    engines: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(TESTS)}; all by default")
    parser.add_argument("--uv", default="uv", help="the uv to install with")
    parser.add_argument(
        "--cuda", action="store_true", help="take PyTorch's build for CUDA if there is no other"
    )
    options = parser.parse_args()
    unknown = set(options.engines) - set(TESTS)
    if unknown:
        parser.error(f"no such engine: {', '.join(sorted(unknown))}")
    return run(Given(options.uv, options.cuda, options.engines or list(TESTS)))


def run(given: Given) -> int:
    """Every suite; then one line for each."""
    told = {}
    for engine in given.engines:
        print(f"=== {engine}", flush=True)
        try:
            python = installed(engine, given)
        except Cannot as why:
            told[engine] = f"SKIPPED: {why}"
            continue
        told[engine] = "passed" if passes(engine, python) else "FAILED"
    print("\n".join(f"{engine:10} {what}" for engine, what in told.items()))
    return int("FAILED" in told.values())


def installed(engine: str, given: Given) -> Path:
    """The Python of an environment that has the engine. Raises Cannot."""
    if engine == "spark" and shutil.which("java") is None:
        raise Cannot("there is no java on this machine (Debian: apt install default-jre-headless)")
    wanted = ROOT / "gate" / "environments" / f"{engine}.txt"
    folder = HOME / engine
    python, done = folder / "bin" / "python", folder / "installed"
    if done.is_file() and done.read_text() == wanted.read_text():
        return python
    uv(given, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    install = ("pip", "install", "--python", str(python), "--requirements", str(wanted))
    if engine == "torch" and not given.cuda and "nvidia-" in uv(given, *install, "--dry-run"):
        raise Cannot("the package index has no build without CUDA; --cuda takes that one")
    uv(given, *install)
    done.write_text(wanted.read_text())
    return python


def uv(given: Given, *arguments: str) -> str:
    """What uv says. Raises Cannot if it fails."""
    try:
        done = subprocess.run(
            [given.uv, *arguments], capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Cannot(str(error)) from error
    if done.returncode != 0:
        raise Cannot((done.stderr.strip().splitlines() or ["uv says nothing"])[-1])
    return done.stdout + done.stderr


def passes(engine: str, python: Path) -> bool:
    """Run the suite. The members come by their paths; fixtures of other suites need servers, and stay out."""
    options = ["-q", "-p", "no:cacheprovider", "--confcutdir=tests/engines", "-k", TESTS[engine]]
    members = os.pathsep.join(str(ROOT / member) for member in ("domain", "gate"))
    try:
        done = subprocess.run(
            [str(python), "-m", "pytest", *options, "tests/engines"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": members},
            timeout=SUITE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
