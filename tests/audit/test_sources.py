"""Folders and archives of strangers: nothing outside is read, nothing is unpacked, nothing grows for ever."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError, Unreadable
from consent_gate.audit.archives import TarSource
from consent_gate.audit.sources import FolderSource, HttpSource

ESCAPES = (
    "../secret",
    "/etc/passwd",
    "a/../../secret",
    "..",
    ".",
    "",
    "a//b",
    "a/./b",
    "a\\b",
    "tile/\n",
    "a\0b",
)


def packed(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for given in members:
            if isinstance(given, tarfile.TarInfo):
                archive.addfile(given)
            else:
                member = tarfile.TarInfo(given[0])
                member.size = len(given[1])
                archive.addfile(member, io.BytesIO(given[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_out_is_never_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "log").mkdir()
    archive = TarSource(packed(tmp_path / "log.tar", ("checkpoint", b"")))
    for source in (FolderSource(tmp_path / "log"), archive, HttpSource("http://127.0.0.1:9/log")):
        with pytest.raises(Unreadable):
            source.read(path)


def test_no_link_in_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "checkpoint").symlink_to(tmp_path / "outside" / "secret")
    (folder / "tile").symlink_to(tmp_path / "outside")
    source = FolderSource(folder)
    for path in ("checkpoint", "tile/secret"):
        with pytest.raises(Unreadable, match="links are not followed"):
            source.read(path)
    with pytest.raises(Unreadable, match="links are not followed"):
        list(source.names())


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    (tmp_path / "keys.json").mkdir()
    for path in ("checkpoint", "keys.json"):
        with pytest.raises(Unreadable):
            FolderSource(tmp_path).read(path)


def test_a_file_that_is_larger_than_it_can_be_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tile" / "0").mkdir(parents=True)
    with (tmp_path / "tile" / "0" / "000").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Unreadable, match="is the most"):
        FolderSource(tmp_path).read("tile/0/000")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for source in (FolderSource(tmp_path), TarSource(packed(tmp_path / "log.tar"))):
        with pytest.raises(ConsentError) as refused:
            source.read("tile/0/000")
        assert refused.value.code == "not_found"
        assert "tile/0/000" in refused.value.detail


@pytest.mark.parametrize(
    "member",
    [
        special("checkpoint", tarfile.SYMTYPE, "/etc/passwd"),
        special("checkpoint", tarfile.LNKTYPE, "keys.json"),
        special("checkpoint", tarfile.FIFOTYPE),
        special("checkpoint", tarfile.CHRTYPE),
        special("checkpoint", tarfile.GNUTYPE_SPARSE),
        ("../escape", b"x"),
        ("/etc/escape", b"x"),
        ("a/../../escape", b"x"),
        ("./../escape", b"x"),
    ],
)
def test_an_archive_with_anything_but_files_inside_is_refused(
    tmp_path: Path, member: tuple[str, bytes] | tarfile.TarInfo
) -> None:
    with pytest.raises(Unreadable):
        TarSource(packed(tmp_path / "log.tar", ("keys.json", b"{}"), member))
    assert not (tmp_path / "escape").exists()


def test_a_file_that_is_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="twice"):
        TarSource(packed(tmp_path / "log.tar", ("checkpoint", b"one"), ("./checkpoint", b"other")))


def test_an_archive_that_is_cut_off_anywhere_is_refused_or_lacks_files(tmp_path: Path) -> None:
    whole = packed(tmp_path / "log.tar", ("checkpoint", b"c" * 700), ("keys.json", b"k" * 700))
    data = whole.read_bytes()
    for size in range(0, 2 * (512 + 1024), 100):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(data[:size])
        try:
            source = TarSource(cut)
            assert source.read("checkpoint") == b"c" * 700
            assert source.read("keys.json") == b"k" * 700
        except ConsentError as error:
            assert error.code in ("quarantined", "not_found"), error
        else:
            assert size > 512 + 1024 + 512 + 700, size


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.5, 0.99])
def test_a_compressed_archive_that_is_cut_off_is_refused(tmp_path: Path, keep: float) -> None:
    packed(tmp_path / "log.tar", ("checkpoint", os.urandom(5_000)))
    data = gzip.compress((tmp_path / "log.tar").read_bytes())
    cut = tmp_path / "log.tgz"
    cut.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(Unreadable):
        TarSource(cut).read("checkpoint")


def test_an_archive_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tgz"
    bomb.write_bytes(gzip.compress(bytes(50_000_000)))
    assert bomb.stat().st_size < 60_000
    with pytest.raises(Unreadable, match="grows more than"):
        TarSource(bomb)


@pytest.mark.parametrize("data", [b"", b"no archive" * 100, bytes(512), b"\x1f\x8b" + bytes(50)])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log.tar").write_bytes(data)
    with pytest.raises(ConsentError):
        TarSource(tmp_path / "log.tar").read("manifest.json")


def test_an_archive_that_somebody_packed_anew_with_tar_is_read(tmp_path: Path) -> None:
    folder = special("./tile", tarfile.DIRTYPE)
    source = TarSource(packed(tmp_path / "log.tar", folder, ("./tile/0/000", b"hashes")))
    assert (list(source.names()), source.read("tile/0/000")) == (["tile/0/000"], b"hashes")


def test_nobody_answers_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ConsentError) as refused:
        HttpSource("http://127.0.0.1:9/log").read("checkpoint")
    assert refused.value.code == "unavailable"


def test_a_member_of_negative_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.tar").write_bytes(header("checkpoint", -512) + bytes(1024))
    with pytest.raises(Unreadable):
        TarSource(tmp_path / "log.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_is_as_long_as_an_archive_is_not_taken_into_memory(tmp_path: Path, kind: bytes) -> None:
    size = 64 << 20
    with (tmp_path / "log.tar").open("wb") as file:
        file.write(header("x", size, kind))
        file.truncate(size + 4096)
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable):
            TarSource(tmp_path / "log.tar")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = special(name, kind)
    data = bytearray(member.tobuf(format=tarfile.GNU_FORMAT))
    data[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


@pytest.mark.parametrize("codings", ["gzip", "gzip, gzip", "deflate", "zstd"])
def test_an_answer_that_unpacks_without_end_is_not_taken_into_memory(codings: str) -> None:
    bomb = gzip.compress(bytes(64 << 20), compresslevel=1)
    if codings == "gzip, gzip":
        bomb = gzip.compress(bomb)
    with answering(bomb, codings) as url:
        source = HttpSource(f"{url}/log")
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable):
                source.read("checkpoint")
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_a_compressed_answer_is_read_and_one_that_is_cut_off_is_not() -> None:
    packed_note = gzip.compress(b"a note")
    with answering(packed_note, "gzip") as url:
        assert HttpSource(f"{url}/log").read("checkpoint") == b"a note"
    with answering(packed_note[:-4], "gzip") as url, pytest.raises(Unreadable):
        HttpSource(f"{url}/log").read("checkpoint")


@pytest.mark.parametrize("prefix", ["@127.0.0.1:9/log", ".example/log", "//127.0.0.1:9/log", "/log/0", "/"])
def test_a_ledger_cannot_send_its_reader_elsewhere(prefix: str) -> None:
    with answering(json.dumps({"prefix": prefix}).encode(), "identity") as url:
        with pytest.raises(ConsentError) as refused:
            HttpSource(url, "secret").read("checkpoint")
    assert "does not say where its log is" in refused.value.detail


@contextmanager
def answering(body: bytes, coding: str) -> Iterator[str]:
    """A server that answers everything with these bytes, said to be in this coding; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-encoding", coding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the reader may go away in the middle
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
