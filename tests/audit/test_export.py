"""An export is whole or is not there, stands alone, and says how to check it without us."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from consent_command import Ran, consent
from consent_domain import events
from consent_domain.tiles import ENTRIES, decode_entries
from consent_gate.audit.manifests import tiles_in
from consent_gate.audit.sources import HttpSource
from ledger_events import ORIGIN, Draft, history, policy
from msgspec.structs import replace
from served_logs import Served, served
from signed_logs import KEY, SIGNER, STRANGER, SignedLog, encoded, lawful, relist

README_CODE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def live(log: SignedLog, tmp_path: Path):  # type: ignore[no-untyped-def]
    with served(log, tmp_path / "served") as given:
        yield given


def export(live: Served, *words: object, **more: str) -> Ran:
    return consent("export", *map(str, words), **{**live.settings(), **more})


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("served", "out"))


# -- refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--from", "0"], "not_found"),
        (["--from", "-3"], "not_found"),
        (["--from", "601"], "beyond_checkpoint"),
        (["--to", "601"], "beyond_checkpoint"),
        (["--from", "9", "--to", "8"], "invalid_value"),
    ],
)
def test_positions_that_are_not_there_leave_nothing(
    live: Served, tmp_path: Path, words: list[str], code: str
) -> None:
    ran = export(live, *words, tmp_path / "out")
    assert (ran.code, code in ran.err) == (2, True), ran
    assert not (tmp_path / "out").exists()
    assert left_over(tmp_path) == []


def test_what_is_there_is_not_overwritten(live: Served, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("out", "link", "served"):
        assert export(live, tmp_path / name).code == 2
    assert export(live, tmp_path / "no" / "folder").code == 2


def test_a_log_that_proves_nothing_is_not_exported(live: Served, tmp_path: Path, log: SignedLog) -> None:
    whole = (live.folder / "tile/entries/001").read_bytes()
    (live.folder / "tile/entries/001").write_bytes(whole[:-1] + b"x")
    for out in ("out", "out.tar"):
        ran = export(live, tmp_path / out)
        assert (ran.code, "event 512" in ran.err) == (1, True)
        assert left_over(tmp_path) == []
    (live.folder / "tile/entries/001").write_bytes(whole)
    (live.folder / "checkpoint").write_bytes(SignedLog(log.entries, STRANGER).note)
    assert export(live, tmp_path / "out").code == 1
    assert not (tmp_path / "out").exists()


def test_who_may_not_see_events_exports_nothing(live: Served, tmp_path: Path) -> None:
    ran = export(live, tmp_path / "out", CONSENT_TOKEN="wrong")
    assert (ran.code, "unauthenticated" in ran.err) == (2, True)
    assert left_over(tmp_path) == []


# -- whole ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512])
@pytest.mark.parametrize("out", ["out", "out.tar", "out.tar.gz", "out.tgz"])
def test_an_export_of_any_size_and_kind_verifies(tmp_path: Path, size: int, out: str) -> None:
    with served(SignedLog(lawful(512)[:size]), tmp_path / "served") as live:
        ran = export(live, out)
        assert ran.code == 0, ran
    ran = consent("verify", out, "--key", KEY, "--json")
    assert (ran.code, ran.told.get("events", 0)) == (0, size), ran
    assert left_over(tmp_path) == ([] if out == "out" else [out])


@pytest.mark.parametrize(
    ("first", "last"), [(1, 1), (1, 256), (256, 257), (257, 512), (300, 310), (513, 600), (600, 600)]
)
def test_a_part_stands_alone_and_leads_to_the_same_root(
    live: Served, tmp_path: Path, log: SignedLog, first: int, last: int
) -> None:
    assert export(live, "--from", first, "--to", last, "out").code == 0
    told = consent("verify", "out", "--key", KEY, "--json").told
    assert (told["result"], told["size"]) == ("good", 600)
    assert told["from"] <= first <= last <= told["to"]
    assert told["to"] - told["from"] < last - first + 512
    run_readme(tmp_path / "out")
    found = [
        entry
        for file in sorted((tmp_path / "out/tile/entries").rglob("*"))
        if file.is_file()
        for entry in decode_entries(file.read_bytes())
    ]
    assert found == list(log.entries[told["from"] - 1 : told["to"]])


def test_the_archive_of_the_same_files_is_the_same_archive(live: Served, tmp_path: Path) -> None:
    for name in ("a.tgz", "b.tgz", "a.tar", "b.tar"):
        assert export(live, name).code == 0
    assert Path("a.tgz").read_bytes() == Path("b.tgz").read_bytes()
    assert Path("a.tar").read_bytes() == Path("b.tar").read_bytes()


def test_a_list_of_tiles_that_a_strangers_number_makes_long_is_not_made() -> None:
    tiles = tiles_in(1, 1, (1 << 63) - 1)
    assert next(iter(tiles)).level == 7, "one after another, never all at once"


# -- interrupted ---------------------------------------------------------------------------------------------


def test_an_interrupted_export_goes_on_where_it_stopped(
    live: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    live.refused["/log/tile/entries/001"] = 1_000
    assert export(live, "out").code == 2
    assert left_over(tmp_path) == ["out.partial"]
    live.refused.clear()
    live.asked.clear()
    assert export(live, "out").code == 0
    assert left_over(tmp_path) == []
    assert "/log/tile/entries/000" not in live.asked, "what is there is verified, not fetched"
    assert "/log/tile/entries/001" in live.asked
    assert consent("verify", "out", "--key", KEY).code == 0


def test_what_an_interrupted_export_left_is_not_believed(
    live: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    live.refused["/log/tile/entries/002.p/88"] = 1_000
    assert export(live, "out").code == 2
    live.refused.clear()
    for name in ("tile/entries/000", "tile/0/001", "tile/1/000.p/2"):
        file = tmp_path / "out.partial" / name
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    (tmp_path / "out.partial" / "extra").write_bytes(b"extra")
    assert export(live, "out").code == 0
    assert consent("verify", "out", "--key", KEY).code == 0


def test_an_export_that_goes_on_behind_a_newer_checkpoint_is_one_export(
    tmp_path: Path, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with served(SignedLog(log.entries[:300]), tmp_path / "served") as live:
        live.refused["/log/tile/entries/001.p/44"] = 1_000
        assert export(live, "out").code == 2
        live.refused.clear()
        live.log = log
        log.write(live.folder, old_size=300)
        assert export(live, "out").code == 0
    assert consent("verify", "out", "--key", KEY, "--json").told["size"] == 600


def test_two_exports_into_one_target_do_not_mix(live: Served, tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()
    answer = live.answer

    def slow(path: str, token: str) -> tuple[int, bytes]:
        if path == "/log/tile/entries/001" and not reached.is_set():
            reached.set()
            go_on.wait(20)
        return answer(path, token)

    live.answer = slow  # type: ignore[method-assign]
    program = Path(sys.executable).with_name("consent")
    first = subprocess.Popen([program, "export", "out"], env=os.environ | live.settings(), cwd=tmp_path)
    assert reached.wait(20)
    ran = export(live, "out")
    assert (ran.code, "another process" in ran.err) == (2, True)
    go_on.set()
    assert first.wait(20) == 0
    assert consent("verify", "out", "--key", KEY).code == 0


# -- what is in it -------------------------------------------------------------------------------------------

WORDS = b"We train on what you write, unless you object.\n"
DIGEST = hashlib.sha256(WORDS).hexdigest()


def told_log() -> SignedLog:
    published = policy()
    assert isinstance(published.body, events.PolicyPublished)
    body = replace(published.body, text_sha256=DIGEST)
    return SignedLog(encoded([Draft(published.stream, body), *list(history(5))[1:]]))


def test_texts_that_events_name_come_along_and_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(WORDS)
    (tmp_path / "others.txt").write_bytes(b"other words")
    with served(told_log(), tmp_path / "served") as live:
        ran = export(live, "without", "--json")
        assert ran.told["textsMissing"] == [DIGEST]
        assert export(live, "--text", "others.txt", "strange").code == 2
        assert export(live, "--text", "nowhere.txt", "strange").code == 2
        assert not Path("strange").exists()
        assert export(live, "--text", "words.txt", "out").code == 0
    assert Path("out/policies", DIGEST).read_bytes() == WORDS
    assert consent("verify", "out", "--key", KEY, "--json").told["textsMissing"] == []
    # Other words under the same name, and a manifest that fits them.
    Path("out/policies", DIGEST).write_bytes(b"We never train.")
    manifest = json.loads(Path("out/manifest.json").read_text())
    manifest["files"][f"policies/{DIGEST}"] = hashlib.sha256(b"We never train.").hexdigest()
    Path("out/manifest.json").write_text(json.dumps(manifest))
    assert consent("verify", "out", "--key", KEY).code == 1


def test_keys_are_named_and_the_manifest_says_what_it_is(live: Served) -> None:
    assert export(live, "out").code == 0
    assert json.loads(Path("out/keys.json").read_text())["verifierKeys"] == [KEY]
    manifest = json.loads(Path("out/manifest.json").read_text())
    expected = {"format": 1, "origin": ORIGIN, "epoch": 1, "log": ORIGIN, "size": 600, "from": 1, "to": 600}
    assert {name: manifest[name] for name in expected} == expected
    assert len([tile for tile in tiles_in(1, 600, 600) if tile.level == ENTRIES]) == 3


# -- the README's own programs -------------------------------------------------------------------------------


def run_readme(folder: Path, key: str = KEY, readme: Path | None = None) -> tuple[int, str, int, str]:
    """Run the two programs that an export's README shows, as they stand there."""
    code = dict(README_CODE.findall((readme or folder / "README.md").read_text()))
    assert set(code) == {"python", "sh"}
    python = subprocess.run(
        [sys.executable, "-I", "-c", code["python"]], cwd=folder, capture_output=True, text=True, timeout=60
    )
    shell = subprocess.run(
        ["sh", "-e", "-c", code["sh"]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VKEY": key},
    )
    return (
        python.returncode,
        python.stdout + python.stderr,
        shell.returncode,
        shell.stdout + shell.stderr,
    )


def test_the_programs_in_the_readme_find_a_whole_export_good(exported: Path) -> None:
    hashes, said, signature, told = run_readme(exported)
    assert (hashes, said) == (0, f"ok: {ORIGIN} 600 events, here 1 to 600\n")
    assert (signature, "Signature Verified Successfully" in told) == (0, True), told


def test_the_programs_in_the_readme_find_another_key(exported: Path) -> None:
    signature, told = run_readme(exported, key=str(STRANGER.verifier))[2:]
    assert (signature, "has not signed" in told) == (1, True)
    # The right key's line, under another text.
    text = (exported / "checkpoint").read_text().replace("600\n", "599\n")
    (exported / "checkpoint").write_text(text)
    signature, told = run_readme(exported)[2:]
    assert signature != 0, told


def test_the_programs_in_the_readme_find_every_change(exported: Path) -> None:
    readme = exported.parent / "readme"
    readme.write_bytes((exported / "README.md").read_bytes())
    for file in [path for path in (exported / "tile").rglob("*") if path.is_file()]:
        whole, manifest = file.read_bytes(), (exported / "manifest.json").read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert run_readme(exported, readme=readme)[0] == 1, file
        relist(exported)
        assert run_readme(exported, readme=readme)[0] == 1, file
        file.unlink()
        assert run_readme(exported, readme=readme)[0] == 1, file
        relist(exported)
        assert run_readme(exported, readme=readme)[0] == 1, file
        file.write_bytes(whole)
        (exported / "manifest.json").write_bytes(manifest)
    assert run_readme(exported, readme=readme)[0] == 0


def test_an_address_of_an_epoch_is_read_as_it_is(live: Served, tmp_path: Path) -> None:
    source = HttpSource(f"{live.url}/log")
    assert source.read("checkpoint") == live.log.note
    assert "/v1/log" not in live.asked
    assert str(SIGNER.verifier) == KEY
