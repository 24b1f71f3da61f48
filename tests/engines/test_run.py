"""What cannot be had here is skipped by name, and only that: an install that fails is a failure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

NO_WHEEL = """error: No solution found when resolving dependencies
  cause: Because {package}==1.2.3 has no wheels with a matching Python ABI tag (e.g., `cp319`) and you require
         {package}==1.2.3, we can conclude that your requirements are unsatisfiable."""


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("engines_run", Path(__file__).with_name("run.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "engines_run", module)
    spec.loader.exec_module(module)
    module.HOME = tmp_path / "environments"  # type: ignore[attr-defined]
    return module


def installer(folder: Path, says: str, exits: int) -> str:
    """A program that stands for uv: it makes environments, and says this of all that is installed."""
    program = folder / "uv"
    (folder / "says").write_text(says)
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\ntest "$1" = venv && exit 0\n'
        f"cat {folder}/says >&2\nexit {exits}\n"
    )
    program.chmod(0o755)
    return str(program)


def outcome(
    runner: Any, capsys: pytest.CaptureFixture[str], uv: str, name: str, cuda: bool = False
) -> tuple[int, str]:
    code = runner.run(runner.Given(uv, cuda, [name]))
    return code, capsys.readouterr().out.splitlines()[-1]


def test_given_an_index_that_does_not_answer_then_tried_again_and_failed(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = installer(tmp_path, "error: Failed to fetch: connection refused", 2)
    code, line = outcome(runner, capsys, uv, "ray")
    assert code == 1 and line.startswith("ray        FAILED: could not be installed")
    assert (tmp_path / "asked").read_text().count("pip install") == 2


def test_given_no_uv_then_failed(runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = outcome(runner, capsys, str(tmp_path / "nothing"), "datasets")
    assert code == 1 and line.startswith("datasets   FAILED")


def test_given_no_wheel_of_the_engine_for_this_python_then_skipped_with_the_reason(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = outcome(runner, capsys, installer(tmp_path, NO_WHEEL.format(package="ray"), 1), "ray")
    assert code == 0 and line.startswith(
        "ray        SKIPPED: ray==1.2.3 has no wheels with a matching Python ABI"
    )


def test_given_no_wheel_of_something_else_that_is_pinned_then_failed(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = installer(tmp_path, NO_WHEEL.format(package="xray"), 1)
    assert outcome(runner, capsys, uv, "ray")[0] == 1


def test_given_no_java_then_spark_is_skipped_by_name(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = installer(tmp_path, "", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, line = outcome(runner, capsys, uv, "spark")
    assert code == 0 and line.startswith("spark      SKIPPED: there is no java")


def test_given_only_a_build_for_cuda_then_torch_is_skipped_unless_it_is_wanted(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = installer(tmp_path, " + nvidia-cublas==1", 0)
    code, line = outcome(runner, capsys, uv, "torch")
    assert code == 0 and line.startswith("torch      SKIPPED: there is no build of it without CUDA")
    code, line = outcome(runner, capsys, uv, "torch", cuda=True)
    assert code == 1 and line.startswith("torch      FAILED"), "it went on, to an environment that is none"
