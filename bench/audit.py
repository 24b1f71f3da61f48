"""Events a second that an auditor verifies offline, and folds again, on one core.

.venv/bin/python bench/audit.py [--events 100000] [--folder .] [--json FILE]

The limits in the same run: SHA-256 of the same entries alone, and reading their envelopes alone.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from consent_domain.envelope import decode
from consent_domain.tiles import leaf_hashes
from consent_gate.audit.export import Wanted, export
from consent_gate.audit.replay import Asked, Replay
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import trust
from consent_gate.audit.verify import Report, verify_export
from harness import Figure, arguments, report
from ledger_events import ORIGIN
from signed_logs import SIGNER, SignedLog, lawful

TURNS = 3
TRUST = trust([SIGNER.verifier], None)


def quiet(done: int, total: int) -> None:
    """Nobody watches the progress."""


def best(events: int, work: Callable[[], object]) -> float:
    """Events a second of one core's time, the best of a few turns: the others were disturbed."""
    rates = []
    for _ in range(TURNS):
        gc.collect()
        started = time.process_time()
        work()
        rates.append(events / (time.process_time() - started))
    return max(rates)


def hashed(entries: list[bytes]) -> None:
    """What no verifier can do without."""
    for start in range(0, len(entries), 256):
        leaf_hashes(entries[start : start + 256])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    asked = parser.parse_args()
    gc.set_threshold(100_000)  # as the command does: facts have no cycles
    count = asked.events
    with TemporaryDirectory(dir=asked.folder, prefix="bench-") as folder:
        entries = lawful(count)
        served = SignedLog(entries).write(Path(folder, "served"))
        out = Path(folder, "export")
        source = FolderSource(served)
        export(source, TRUST, Wanted(origin=ORIGIN, keys=[str(SIGNER.verifier)]), out, quiet)
        source.close()
        exported = FolderSource(out)

        def replay(workspace: str) -> None:
            tree = VerifiedTree(exported, TRUST.open(exported.read("checkpoint")).checkpoint)
            Replay(tree, Asked(count, workspace=workspace), quiet).whole()

        hashing = best(count, lambda: hashed(entries))
        reading = best(count, lambda: [decode(entry) for entry in entries])
        verified = best(count, lambda: verify_export(exported, TRUST, None, Report("export"), quiet))
        replayed, one = best(count, lambda: replay("")), best(count, lambda: replay("workspace-7"))
        figures = [
            Figure("export verified: every file, tile and event", verified, "events", reach=100_000),
            Figure("the same, beside hashing alone", verified, "events", "SHA-256 of each entry", hashing),
            Figure("everything replayed, verifying", replayed, "events", reach=100_000),
            Figure("the same, beside reading alone", replayed, "events", "decode of each event", reading),
            Figure("one workspace replayed, verifying", one, "events", reach=100_000),
        ]
        exported.close()
        report("Verifying and replaying an export, offline, one core", figures, asked.folder, asked.json)


if __name__ == "__main__":
    main()
