"""`consent witness`: cosign the checkpoints of logs that only ever grow (C2SP tlog-witness)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from consent_domain.errors import ConsentError
from consent_domain.notes import encode_base64

from consent_gate.commands.pinned import read_policy
from consent_gate.commands.terminal import plain
from consent_gate.commands.usage import Subcommands, examples
from consent_gate.seeds import make_seed, read_seed
from consent_gate.signatures import CosignatureVerifier, Cosigner
from consent_gate.witness.server import WHAT, Setup, cosigner_of, serve
from consent_gate.witness.state import make, open_state

PORT = 8090
EVIDENCE_SHOWN = 1_000
EXIT_CODES = "Exit codes: 0 done; 2 refused, failed or wrong usage."

_KEYS = "  consent witness keys --key-file witness.key --name witness.example/w1"
_SERVES = '  consent witness serve --key-file witness.key --log "ledger.example+a1b2c3d4+AX…" --port 8090'
_EVIDENCE = "  consent witness evidence --key-file witness.key --json"


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "witness", help="cosign what logs sign, if they only ever grow",
        **examples("\n".join((_KEYS, _SERVES, _EVIDENCE)), EXIT_CODES),
    )  # fmt: skip
    below = command.add_subparsers(required=True, metavar="COMMAND")
    keys = below.add_parser(
        "keys", parents=[_files()], **examples(_KEYS, EXIT_CODES),
        help="make the key and its state if there is no key yet, and print the verifier key",
    )  # fmt: skip
    keys.add_argument("--name", metavar="N", help="the key's name, as witness.example/w1; for a new key")
    keys.set_defaults(run=_keys)
    serving = below.add_parser(
        "serve", parents=[_files()], help="serve until SIGTERM", **examples(_SERVES, EXIT_CODES)
    )
    serving.add_argument(
        "--log", action="append", default=[], metavar="VKEY",
        help="a log's verifier key; may be repeated, also for one log while its keys change",
    )  # fmt: skip
    serving.add_argument("--policy", metavar="FILE", help="a C2SP tlog-policy: its log lines count as --log")
    serving.add_argument("--host", default="127.0.0.1", metavar="H", help="by default 127.0.0.1")
    serving.add_argument("--port", type=int, default=PORT, metavar="PORT", help=f"by default {PORT}")
    serving.set_defaults(run=_serve)
    evidence = below.add_parser(
        "evidence", parents=[_files()], **examples(_EVIDENCE, EXIT_CODES),
        help="print what logs signed and did not fit, with the checkpoint that it contradicts",
    )  # fmt: skip
    evidence.set_defaults(run=_evidence)


def _files() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--key-file", required=True, metavar="F", help="the seed of the key, 32 bytes, mode 0600"
    )
    parser.add_argument(
        "--state-file", metavar="S", help="what was cosigned with it; by default the key file's name + .state"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _state_file(options: argparse.Namespace) -> Path:
    return Path(options.state_file or f"{options.key_file}.state")


def _keys(options: argparse.Namespace) -> int:
    path, state = Path(options.key_file), _state_file(options)
    verifier = cosigner_of(path, state)[0].verifier if path.exists() else _new(path, state, options.name)
    if options.name and options.name != verifier.name:
        raise ConsentError(
            "already_exists", f"{path} is the key of {verifier.name}; a key never signs under another name"
        )
    print(json.dumps({"verifierKey": str(verifier)}) if options.json else verifier)
    return 0


def _new(path: Path, state: Path, name: str | None) -> CosignatureVerifier:
    if not name:
        raise ConsentError("invalid_value", f"there is no key {path} yet; say by --name what it is called")
    if state.exists():
        raise ConsentError(
            "already_exists",
            f"{state} is the state of a key, and {path} is missing; put the key back",
        )
    made = make_seed(path)
    verifier = Cosigner(name, read_seed(path, WHAT)).verifier
    if made:
        make(state, verifier)
    return verifier


def _serve(options: argparse.Namespace) -> int:
    policy = None if options.policy is None else read_policy(Path(options.policy))
    listed = () if policy is None else (log.key for log in policy.logs)
    logs = tuple(dict.fromkeys((*options.log, *listed)))
    setup = Setup(Path(options.key_file), _state_file(options), logs, options.host, options.port)
    serve(setup, lambda witness: _tell(witness.key, setup, options.json))
    return 0


def _tell(key: str, setup: Setup, as_json: bool) -> None:
    host = f"[{setup.host}]" if ":" in setup.host else setup.host
    url = f"http://{host}:{setup.port}"
    if as_json:
        print(json.dumps({"url": url, "verifierKey": key, "logs": setup.logs}), flush=True)
    else:
        print(f"the witness {key} serves at {url}, until SIGTERM or Ctrl-C", flush=True)
        for log in setup.logs:
            print(f"cosigns {plain(log)}", flush=True)


def _evidence(options: argparse.Namespace) -> int:
    state, _ = open_state(_state_file(options))
    with state.reading() as reading:
        found = reading.evidence(EVIDENCE_SHOWN)
    for one in found:
        cosigned, submitted = one.cosigned.decode(), one.submitted.decode(errors="replace")
        if options.json:
            told = {
                "log": one.log,
                "alarm": one.alarm,
                "size": one.tree.size,
                "root": encode_base64(one.tree.root),
            }
            print(json.dumps({**told, "at": one.at_seconds, "cosigned": cosigned, "submitted": submitted}))
        else:
            print(f"{one.alarm.upper()} of {plain(one.log)} at {one.tree.size:,} entries")
            for title, text in (("cosigned before", cosigned), ("submitted", submitted)):
                print(f"  {title}:", *(f"    {plain(line)}" for line in text.splitlines()), sep="\n")
    if not found and not options.json:
        print("nothing that any log signed contradicted what was cosigned")
    return 0
