"""`consent witness serve` as a process: HTTP, limits, races and deaths as they really are."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import psutil
import pytest
from consent_command import consent
from consent_domain.notes import parse_key, parse_note, parse_signature_lines
from consent_domain.witness_policy import parse_policy
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import CosignatureVerifier
from consent_gate.witness.rules import BODY_BYTES_MAX
from http_service import free_port
from witnessed import LOG, SIGNER, Tree, key_files, serving

HONEST, FORKED = Tree(), Tree(forked_at=5)
PATH = f"/{sha256(LOG.encode()).hexdigest()}/checkpoint"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A witness for the tests that do not care what it cosigned before."""
    key, port = key_files(tmp_path_factory.mktemp("witness")), free_port()
    with serving(key, port):
        yield f"http://127.0.0.1:{port}"


def add(address: str, body: bytes) -> httpx.Response:
    return httpx.post(f"{address}/add-checkpoint", content=body, timeout=20)


def size_of(address: str) -> int:
    size: int = httpx.get(f"{address}/health", timeout=20).json()["logs"][LOG]
    return size


def test_given_a_log_that_grows_then_its_checkpoint_satisfies_a_policy_with_this_witness(
    tmp_path: Path,
) -> None:
    key, port = key_files(tmp_path), free_port()
    verifier = consent("witness", "keys", "--key-file", str(key)).out.strip()
    policy = parse_policy(f"witness w {verifier}\nquorum w\n")
    address = f"http://127.0.0.1:{port}"
    with serving(key, port):
        assert httpx.get(address + PATH).status_code == 404, "nothing was cosigned yet"
        old = 0
        for size in (3, 7, 300):
            answer = add(address, HONEST.request(old, size))
            assert answer.status_code == 200
            opened = open_checkpoint(HONEST.note(size) + answer.content, [SIGNER.verifier], policy)
            assert abs(opened.cosigned_by["w"] - time.time()) < 60
            old = size
        seen = httpx.get(address + PATH)
        assert open_checkpoint(seen.content, [SIGNER.verifier], policy).checkpoint == HONEST.checkpoint(300)
        assert seen.headers["cache-control"] == "no-store"
    assert json.loads(Path(f"{key}.said").read_text().splitlines()[0])["verifierKey"] == verifier


def test_given_another_old_size_then_the_size_has_the_type_of_the_specification(address: str) -> None:
    size = size_of(address)
    answer = add(address, HONEST.request(599, 600))
    assert (answer.status_code, answer.headers["content-type"]) == (409, "text/x.tlog.size")
    assert answer.content == b"%d\n" % size


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/add-checkpoint", 405),
        ("PUT", "/add-checkpoint", 405),
        ("POST", "/health", 405),
        ("GET", "/", 404),
        ("GET", f"/{sha256(b'other').hexdigest()}/checkpoint", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/metrics", 200),
    ],
)
def test_given_another_method_or_path_then_it_is_refused(
    address: str, method: str, path: str, status: int
) -> None:
    assert httpx.request(method, address + path, timeout=20).status_code == status


def test_given_a_body_that_is_too_long_then_413_and_it_goes_on(address: str) -> None:
    assert add(address, b"x" * (BODY_BYTES_MAX + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 1_000

    with httpx.Client(timeout=20) as client:
        try:
            assert client.post(f"{address}/add-checkpoint", content=endless()).status_code == 413
        except httpx.TransportError:
            pass  # the server closed while it was still being sent to
    assert add(address, b"").status_code == 400


def test_given_many_who_begin_and_never_end_then_others_are_answered(address: str) -> None:
    port = int(address.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(20)]
    for one in slow:
        one.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold")
    assert add(address, b"").status_code == 400
    for one in slow:
        one.close()


def test_given_the_race_of_the_specification_on_one_server_then_nothing_is_rolled_back(
    tmp_path: Path,
) -> None:
    key, port = key_files(tmp_path), free_port()
    address = f"http://127.0.0.1:{port}"
    answered: list[list[int]] = [[] for _ in range(4)]

    def climb(step: int, sizes: list[int]) -> None:
        old = 0
        with httpx.Client(timeout=20) as client:
            for _ in range(12):
                size = old + step
                answer = client.post(f"{address}/add-checkpoint", content=HONEST.request(old, size))
                if answer.status_code == 200:
                    sizes.append(size)
                    old = size
                else:
                    assert answer.status_code == 409
                    old = int(answer.content)

    with serving(key, port):
        threads = [threading.Thread(target=climb, args=(n + 1, answered[n])) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert all(sizes == sorted(sizes) for sizes in answered)
        assert size_of(address) == max(size for sizes in answered for size in sizes)


def test_given_two_servers_on_one_state_and_a_fork_then_only_one_side_of_it_is_cosigned(
    tmp_path: Path,
) -> None:
    key, ports = key_files(tmp_path), (free_port(), free_port())
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    with serving(key, ports[0]), serving(key, ports[1]):
        assert add(addresses[0], HONEST.request(0, 5)).status_code == 200
        statuses: dict[int, int] = {}

        def submit(number: int, tree: Tree) -> None:
            statuses[number] = add(addresses[number], tree.request(5, 9)).status_code

        threads = [threading.Thread(target=submit, args=pair) for pair in enumerate((HONEST, FORKED))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(statuses.values()) == [200, 409]
        loser = (HONEST, FORKED)[0 if statuses[0] == 409 else 1]
        assert add(addresses[0], loser.request(9, 9)).status_code == 409
        assert 'consent_witness_alarms_total{alarm="fork"}' in httpx.get(f"{addresses[0]}/metrics").text
    told = consent("witness", "evidence", "--key-file", str(key), "--json").told
    assert (told["alarm"], told["size"]) == ("fork", 9)
    texts = {parse_note(told["cosigned"].encode()).text, loser.note(9).decode().partition("\n\n")[0] + "\n"}
    assert len(texts) == 2
    assert "FORK of ledger.example/log" in consent("witness", "evidence", "--key-file", str(key)).out


def test_given_a_witness_that_is_killed_while_it_cosigns_then_it_remembers_all_that_it_answered(
    tmp_path: Path,
) -> None:
    key, port = key_files(tmp_path), free_port()
    address = f"http://127.0.0.1:{port}"
    largest = 0
    with serving(key, port) as process:
        ended = threading.Event()

        def grow() -> None:
            nonlocal largest
            size = 1
            while not ended.is_set():
                try:
                    if add(address, HONEST.request(size - 1, size)).status_code == 200:
                        largest = size
                        size += 1
                except httpx.TransportError:
                    return

        growing = threading.Thread(target=grow)
        growing.start()
        deadline = time.monotonic() + 20
        while largest < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = psutil.Process(process.pid).children(recursive=True)
        for victim in (psutil.Process(process.pid), *workers):
            victim.kill()
        process.wait(10)
        ended.set()
        growing.join(20)
    assert largest >= 5
    with serving(key, port):
        remembered = size_of(address)
        assert remembered in (largest, largest + 1), "what was answered, and at most what was on its way"
        assert add(address, Tree(forked_at=1).request(remembered, 400)).status_code == 422
        assert add(address, HONEST.request(remembered, 400)).status_code == 200


def test_given_a_parent_that_is_killed_then_its_worker_ends_and_the_port_is_free_again(
    tmp_path: Path,
) -> None:
    key, port = key_files(tmp_path), free_port()
    with serving(key, port) as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(10)
        _, alive = psutil.wait_procs(workers, 10)
        assert alive == []
    with serving(key, port):
        assert add(f"http://127.0.0.1:{port}", HONEST.request(0, 3)).status_code == 200


def test_given_sigterm_then_it_ends_cleanly_and_says_no_secret(tmp_path: Path) -> None:
    key, port = key_files(tmp_path), free_port()
    with serving(key, port) as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        assert add(f"http://127.0.0.1:{port}", HONEST.request(0, 3)).status_code == 200
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(15) == 0
        _, alive = psutil.wait_procs(workers, 5)
        assert alive == []
    said = Path(f"{key}.said").read_bytes()
    assert key.read_bytes() not in said
    assert key.read_bytes().hex().encode() not in said
    assert b"Traceback" not in said, said.decode()


def test_given_a_port_that_is_taken_then_it_says_so(tmp_path: Path) -> None:
    key = key_files(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = consent(
            "witness", "serve", "--key-file", str(key), "--log", str(SIGNER.verifier), "--port", port
        )
    assert (ran.code, f"port {port}" in ran.err) == (2, True)


def test_given_no_granian_then_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_files(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "granian.constants", None)
    ran = consent("witness", "serve", "--key-file", str(key), "--log", str(SIGNER.verifier))
    assert (ran.code, "consent-gate[witness]" in ran.err) == (2, True)


def test_given_a_policy_then_its_logs_are_cosigned(tmp_path: Path) -> None:
    key, port = key_files(tmp_path), free_port()
    verifier = consent("witness", "keys", "--key-file", str(key)).out.strip()
    assert parse_key(verifier).kind == 4
    (tmp_path / "policy").write_text(f"log {SIGNER.verifier}\nwitness me {verifier}\nquorum me\n")
    ran = consent("witness", "serve", "--key-file", str(key), "--policy", str(tmp_path / "gone"))
    assert ran.code == 2
    with serving(key, port, "--policy", str(tmp_path / "policy")):
        answer = add(f"http://127.0.0.1:{port}", HONEST.request(0, 3))
        (signature,) = parse_signature_lines(answer.text)
        CosignatureVerifier.parse(verifier).verify(parse_note(HONEST.note(3)).text, signature)
    with sqlite3.connect(f"{key}.state") as connection:
        assert connection.execute("SELECT size FROM cosigned").fetchall() == [(3,)]
    connection.close()
