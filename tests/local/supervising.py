"""A program for test_supervisor.py: supervises the children that its argument lists as JSON, and says so."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from consent_local.children import Asking, ServerError
from consent_local.services import MARK, Service
from consent_local.supervisor import Stopped, Supervisor


class Child(Service):
    askings = (Asking(signal.SIGTERM, 1.0),)
    settled_seconds = float(sys.argv[3])


def main(folder: Path, scripts: dict[str, str]) -> None:
    environment = {**os.environ, MARK: str(folder)}
    with Supervisor(lambda sentence: print(sentence, flush=True)) as supervisor:
        try:
            for name, script in scripts.items():
                command = [sys.executable, "-c", script]
                supervisor.start(
                    Child(name, command, folder / "logs" / f"{name}.log", environment), seconds_max=10
                )
            print("ready", flush=True)
            supervisor.supervise()
        except Stopped:
            pass
        except ServerError as error:
            print(f"error: {error}", flush=True)
    print("stopped", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
