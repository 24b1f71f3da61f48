"""The data folder: never somebody else's, never two at once, never a newer one, never half removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from consent_local import account, folder
from consent_local.account import cluster_folder
from consent_local.children import ServerError, bound_log, write_atomically
from consent_local.folder import DataFolder, in_use
from consent_local.reset import reset
from consent_local.status import status


def test_given_a_folder_in_use_when_another_takes_it_then_refused_until_it_is_given_up(
    tmp_path: Path,
) -> None:
    first = DataFolder.make(tmp_path / "data")
    assert in_use(first.path)
    with pytest.raises(ServerError, match="in use"):
        DataFolder.make(tmp_path / "data")
    with pytest.raises(ServerError, match="in use"):
        reset(tmp_path / "data", lambda _: True)
    first.close()
    assert not in_use(first.path)
    DataFolder.make(tmp_path / "data").close()


def test_given_a_folder_with_other_files_when_taken_then_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ServerError, match="holds other files"):
        DataFolder.make(tmp_path)
    with pytest.raises(ServerError, match="no folder of consent-local"):
        reset(tmp_path, lambda _: True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("line", ["consent-local 2\n", "consent-local 10\n"])
def test_given_a_folder_of_a_newer_version_when_taken_then_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "format").write_text(line)
    for use in (DataFolder.make, DataFolder.existing):
        with pytest.raises(ServerError, match="newer version"):
            use(tmp_path)
    assert (tmp_path / "format").read_text() == line


@pytest.mark.parametrize("line", ["", "docker 1\n", "consent-local\n", "consent-local -1\n"])
def test_given_a_format_file_of_something_else_when_removed_then_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "format").write_text(line)
    with pytest.raises(ServerError, match="not one of consent-local's"):
        reset(tmp_path, lambda _: True)


def test_given_a_full_disk_when_taken_then_the_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "FREE_BYTES_MIN", 1 << 60)
    with pytest.raises(ServerError, match=r"disk of .* is full"):
        DataFolder.make(tmp_path / "data")
    assert not in_use(tmp_path / "data")


def test_given_ports_when_started_again_then_the_same_unless_somebody_took_one(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    first = data.ports(("postgres", "nats"))
    assert first["postgres"] != first["nats"]
    assert data.ports(("postgres", "nats")) == first
    with socket.create_server(("127.0.0.1", first["nats"])):
        second = data.ports(("postgres", "nats"))
    assert second["postgres"] == first["postgres"]
    assert second["nats"] != first["nats"]
    data.close()


def test_given_a_no_when_reset_then_nothing_is_removed(tmp_path: Path) -> None:
    DataFolder.make(tmp_path / "data").close()
    with pytest.raises(ServerError, match="nothing was removed"):
        reset(tmp_path / "data", lambda _: False)
    assert (tmp_path / "data" / "keys").is_dir()


def test_given_a_file_of_somebody_else_and_a_link_when_reset_then_both_targets_stay(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    (data.path / "replica").symlink_to(elsewhere)
    (data.path / "notes.txt").write_text("mine")
    data.close()
    assert "notes.txt" in reset(data.path, lambda _: True)
    assert [entry.name for entry in data.path.iterdir()] == ["notes.txt"]
    assert (elsewhere / "thesis.txt").exists()


def test_given_a_record_of_a_folder_that_is_not_ours_when_reset_then_refused(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    data.close()
    victim = tmp_path / "victim"
    victim.mkdir()
    (data.path / "postgres-folder").write_text(str(victim))
    with pytest.raises(ServerError, match="no folder of consent-local's"):
        reset(data.path, lambda _: True)
    assert victim.exists()


def test_given_a_stopped_removal_when_reset_again_then_it_is_finished(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    for name in ("keys", "logs"):
        (data.path / name).rmdir()
    data.close()
    assert "removed" in reset(data.path, lambda _: True)
    assert not data.path.exists()


def test_given_a_postgres_that_still_ends_when_reset_then_it_is_waited_for(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    data.close()
    cluster = cluster_folder(data.path, None)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], cwd=cluster) as ending:
        reset(data.path, lambda _: True)
        assert ending.poll() == 0
    assert not data.path.exists()


def test_given_a_moved_folder_when_used_then_the_cluster_moved_with_it(tmp_path: Path) -> None:
    data = DataFolder.make(tmp_path / "data")
    data.close()
    cluster_folder(data.path, None)
    data.path.rename(tmp_path / "moved")
    assert cluster_folder(tmp_path / "moved", None) == tmp_path / "moved" / "postgres"


def test_given_a_cluster_that_is_gone_when_used_then_refused_rather_than_begun_anew(tmp_path: Path) -> None:
    cluster_folder(tmp_path, None).rmdir()
    with pytest.raises(ServerError, match="is gone"):
        cluster_folder(tmp_path, None)


def test_given_a_link_in_the_clusters_place_when_used_then_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "postgres").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServerError, match="symbolic link"):
        cluster_folder(tmp_path, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the cluster to another account")
def test_given_root_and_a_narrow_umask_when_programs_are_copied_then_everybody_can_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, state = tmp_path / "packages", tmp_path / "state"
    program = packages / account.PACKAGE / account.INSTALLATION / "bin" / "postgres"
    monkeypatch.setattr(account, "STATE_FOLDER", state)
    before = os.umask(0o077)
    try:
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        copy = account._copied(packages)
    finally:
        os.umask(before)
    assert program.stat().st_mode & 0o777 == 0o700
    for path in (state, copy, copy / account.PACKAGE / account.INSTALLATION / "bin" / "postgres"):
        assert path.stat().st_mode & 0o005 == 0o005


def test_given_a_log_that_grew_when_bounded_then_its_end_is_kept_and_appending_goes_on(
    tmp_path: Path,
) -> None:
    log = tmp_path / "child.log"
    with open(log, "ab", buffering=0) as child:
        child.write(b"old " * 100)
        bound_log(log, 100)
        child.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "child.log.1").read_bytes() == b"old " * 25


def test_given_a_half_written_file_of_a_crash_when_written_then_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials.json.new").write_text("{half")
    write_atomically(tmp_path / "credentials.json", b"{}")
    assert (tmp_path / "credentials.json").read_bytes() == b"{}"
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]


def test_given_no_folder_when_asked_for_its_status_then_nothing_runs_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    found = status(tmp_path / "data")
    assert (found["running"], found["ready"]) == (False, False)
    assert not (tmp_path / "data").exists()
