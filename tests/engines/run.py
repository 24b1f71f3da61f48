"""Runs suites that are too heavy for the project's own environment: engines, tools that cache, MLflow.

    .venv/bin/python tests/engines/run.py [--uv PATH] [--cuda] [NAME …]

Each gets an environment of its own in .venv-engines, with what gate/environments pins; two at a time. What
this machine cannot have is skipped by name: Spark without Java, PyTorch where there is only its build for
CUDA, of some gigabytes (unless `--cuda`), an engine without a wheel for this Python or platform. Any other
install that fails, twice, is a failure. Exit code 1 if anything failed.

Where the machine tells pip of a folder with wheels (PIP_FIND_LINKS), they are found here too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-engines"
INSTALL_SECONDS_MAX, INSTALLS_MAX, SUITE_SECONDS_MAX = 600, 2, 600
AT_ONCE = 2


class Suite(NamedTuple):
    """The package that cannot be had everywhere, and the tests, as pytest chooses them."""

    package: str
    tests: tuple[str, ...]


SUITES = {
    "ray": Suite("ray", ("tests/engines", "-k", "ray and not array")),
    "spark": Suite("pyspark", ("tests/engines", "-k", "spark")),
    "torch": Suite("torch", ("tests/engines", "-k", "torch")),
    "datasets": Suite("datasets", ("tests/engines", "-k", "datasets")),
    "prefect": Suite("prefect", ("tests/caches/test_prefect.py",)),
    "dbt": Suite("dbt-core", ("tests/caches/test_dbt.py",)),
    "dvc": Suite("dvc", ("tests/caches/test_dvc.py",)),
    "mlflow": Suite("mlflow-skinny", ("tests/tracking/test_mlflow.py",)),
}
"""The slowest first."""


class Cannot(Exception):
    """Why this machine cannot have something."""


class Failed(Exception):
    """Why something that it can have is not there."""


class Given(NamedTuple):
    """From the command line."""

    uv: str
    cuda: bool
    names: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--uv", default="uv", help="the uv to install with")
    parser.add_argument(
        "--cuda", action="store_true", help="take PyTorch's build for CUDA if there is no other"
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(SUITES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return run(Given(options.uv, options.cuda, options.names or list(SUITES)))


def run(given: Given) -> int:
    """Every suite; then one line for each."""
    printing = threading.Lock()

    def told(name: str) -> str:
        began = time.monotonic()
        outcome, output = outcome_of(name, given)
        with printing:
            print(f"=== {name}\n{output}", flush=True)
        return f"{outcome} ({time.monotonic() - began:.0f} s)"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(given.names, pool.map(told, given.names), strict=True))
    print("\n".join(f"{name:10} {outcome}" for name, outcome in outcomes.items()))
    return int(any(outcome.startswith("FAILED") for outcome in outcomes.values()))


def outcome_of(name: str, given: Given) -> tuple[str, str]:
    """What became of a suite, in a line, and what it printed."""
    try:
        python = installed(name, given)
        output = passed(SUITES[name], python)
    except Cannot as why:
        return f"SKIPPED: {why}", ""
    except (Failed, OSError) as why:
        first, _, rest = str(why).partition("\n")
        return f"FAILED: {first}", rest
    return "passed", output


# -- environments --------------------------------------------------------------------------------------------


def installed(name: str, given: Given) -> Path:
    """The Python of an environment that has what is pinned. Raises Cannot and Failed."""
    if name == "spark" and shutil.which("java") is None:
        raise Cannot("there is no java on this machine (Debian: apt install default-jre-headless)")
    wanted = ROOT / "gate" / "environments" / f"{name}.txt"
    folder = HOME / name
    python, done = folder / "bin" / "python", folder / "installed"
    if done.is_file() and done.read_text() == wanted.read_text():
        return python
    uv(given, name, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    install = ["pip", "install", "--python", str(python), "--requirements", str(wanted)]
    for links in os.environ.get("PIP_FIND_LINKS", "").split():
        install += ["--find-links", links]
    if name == "torch" and not given.cuda and "nvidia-" in uv(given, name, *install, "--dry-run"):
        raise Cannot("there is no build of it without CUDA here; --cuda takes that one")
    uv(given, name, *install)
    done.write_text(wanted.read_text())
    return python


def uv(given: Given, name: str, *arguments: str) -> str:
    """What uv says. Tries again once: the network is not always there. Raises Cannot and Failed."""
    for _ in range(INSTALLS_MAX):
        try:
            done = subprocess.run(
                [given.uv, *arguments],
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS_MAX,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
            continue
        if done.returncode == 0:
            return done.stdout + done.stderr
        said = done.stderr.strip() or f"uv says nothing, and exits with {done.returncode}"
        if why := without_a_wheel(SUITES[name].package, said):
            raise Cannot(why)
    raise Failed(f"could not be installed\n{said}")


def without_a_wheel(package: str, said: str) -> str:
    """In which respect a package has no wheel for this machine, by what uv said; empty if that is not it."""
    words = " ".join(said.split())
    found = re.search(
        rf"\b{re.escape(package)}==\S+ has no wheels with a matching [^,;]*?\(e\.g\., [^)]*\)", words
    )
    return found.group() if found else ""


# -- suites --------------------------------------------------------------------------------------------------


def passed(suite: Suite, python: Path) -> str:
    """What the suite printed. Raises Failed unless all passed.

    The members come by their paths; fixtures of other suites need servers, and stay out.
    """
    members = os.pathsep.join(str(ROOT / member) for member in ("domain", "gate"))
    options = ("-q", "-p", "no:cacheprovider", "--confcutdir=tests/engines", *suite.tests)
    process = subprocess.Popen(
        [str(python), "-m", "pytest", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": members},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SUITE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise Failed(f"not done after {SUITE_SECONDS_MAX} s\n{output}") from None
    if process.returncode != 0:
        raise Failed(f"pytest exits with {process.returncode}\n{output}")
    return output


if __name__ == "__main__":
    sys.exit(main())
