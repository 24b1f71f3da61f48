"""Where the command finds the ledger and the key: flag before environment before file, and never a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.commands.settings import Settings, settings

NO_FLAGS: dict[str, str | None] = {}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(folder / "home"), **more}


def test_a_flag_comes_before_the_environment_before_a_file(elsewhere: Path) -> None:
    (elsewhere / "consent.toml").write_text('url = "http://file"\ntoken = "file"\nreplica = "/file"\n')
    given = environment(elsewhere, CONSENT_URL="http://environment", CONSENT_TOKEN="environment")
    found = settings({"url": "http://flag", "token": None}, given, None, "pipeline")
    assert found == Settings("http://flag", "environment", "", "/file")


def test_a_file_in_the_folder_comes_before_the_users_own(elsewhere: Path) -> None:
    own = elsewhere / "home" / "consent"
    own.mkdir(parents=True)
    (own / "config.toml").write_text('url = "https://own"\ntoken = "own"\n')
    assert settings(NO_FLAGS, environment(elsewhere), None, "pipeline").url == "https://own"
    (elsewhere / "consent.toml").write_text('url = "https://here"\ntoken = "here"\n')
    assert settings(NO_FLAGS, environment(elsewhere), None, "pipeline").url == "https://here"


@pytest.mark.parametrize("role", ["auditor", "pipeline"])
def test_credentials_of_consent_local_give_the_key_that_the_command_needs(elsewhere: Path, role: str) -> None:
    path = elsewhere / "credentials.json"
    keys = {"auditor": "an-auditor's", "pipeline": "a-pipeline's", "admin": "an-admin's"}
    path.write_text(json.dumps({"url": "http://local", "keys": keys, "feedKey": "name+1+2"}))
    found = settings(NO_FLAGS, environment(elsewhere), str(path), role)
    assert (found.url, found.token, found.feed_key) == ("http://local", keys[role], "name+1+2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the ledger's address is missing"),
        ({"CONSENT_URL": "http://there"}, "an API key is missing"),
        ({"CONSENT_TOKEN": "key"}, "the ledger's address is missing"),
        ({"CONSENT_URL": "there:8080", "CONSENT_TOKEN": "key"}, "must begin with http"),
        ({"CONSENT_URL": "http://there", "CONSENT_TOKEN": "a\nkey"}, "characters that no key has"),
        ({"CONSENT_URL": "http://there", "CONSENT_TOKEN": "ключ"}, "characters that no key has"),
        ({"CONSENT_CONFIG": "/nowhere.toml"}, "/nowhere.toml cannot be read"),
    ],
)
def test_what_is_missing_or_wrong_is_said(elsewhere: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(ConsentError, match=said):
        settings(NO_FLAGS, environment(elsewhere, **given), None, "pipeline")


@pytest.mark.parametrize(
    "text", ["url = ", "urls = 'http://x'", "url = 5", "[ledger]\nurl = 'x'", "\0", "url = 'x'\nurl = 'y'"]
)
def test_a_file_that_says_anything_else_is_refused(elsewhere: Path, text: str) -> None:
    (elsewhere / "consent.toml").write_text(text)
    with pytest.raises(ConsentError, match=r"consent\.toml"):
        settings(NO_FLAGS, environment(elsewhere), None, "pipeline")


@pytest.mark.parametrize("text", ["{}", "[]", '{"url": "x", "keys": {}}', '{"url": "x", "keys": []}', "{"])
def test_credentials_without_what_is_needed_are_refused(elsewhere: Path, text: str) -> None:
    (elsewhere / "credentials.json").write_text(text)
    with pytest.raises(ConsentError, match=r"credentials\.json"):
        settings(NO_FLAGS, environment(elsewhere), str(elsewhere / "credentials.json"), "pipeline")
