"""The pytest plugin: tests that fail if a data set holds rows that may not be used.

    def test_the_training_set_is_consented(assert_consented):
        assert_consented(load(), workspace="workspace_id", collected="sent_at", purpose="train.ranking")

It is loaded by every run of pytest where `consent-gate` is installed, so it imports nothing until a test asks
for a fixture. A ledger that cannot be asked is an error, never a test that is skipped or passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from consent_gate.gate import Gate

_SETTINGS = {
    "url": "the ledger's address (CONSENT_URL)",
    "purpose": "the purpose of assertions that name none",
    "snapshot": "a snapshot file to ask instead of a ledger",
    "max_age": "how old the snapshot may be, in seconds",
    "feed_key": "the ledger's public key, to be pinned (CONSENT_FEED_KEY); a snapshot needs it",
}
"""The API key comes from CONSENT_TOKEN alone: command lines and files in a repository are no place for it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each setting is an option, and a line in the configuration of pytest."""
    group = parser.getgroup("consent", "consent: data sets that may be used")
    for name, told in _SETTINGS.items():
        group.addoption(f"--consent-{name.replace('_', '-')}", dest=f"consent_{name}", help=told)
        parser.addini(f"consent_{name}", told)


@pytest.fixture(scope="session")
def consent_gate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate on the ledger or the snapshot that the settings name, with a replica of its own."""
    from consent_domain.errors import ConsentError

    gate, refused = None, ""
    try:
        gate = _connected(request.config, str(tmp_path_factory.mktemp("consent-replica")))
    except ConsentError as error:
        refused = f"consent: {error.detail} [{error.code}]"
    if gate is None:
        pytest.fail(refused, pytrace=False)  # here, so that pytest shows no chain of tracebacks
    with gate:
        yield gate


@pytest.fixture
def assert_consented(consent_gate: Gate) -> Callable[..., None]:
    """`consent_gate.consented.require_consented` on that gate: `assert_consented(data, workspace=…, …)`."""
    from consent_domain.errors import ConsentError

    from consent_gate.consented import require_consented

    def assert_consented(data: Any, **asked: Any) -> None:
        __tracebackhide__ = True
        undecided = ""
        try:
            require_consented(consent_gate, data, **asked)
        except ConsentError as error:
            undecided = f"consent: it could not be decided: {error.detail} [{error.code}]"
        if undecided:
            pytest.fail(undecided)

    return assert_consented


def _connected(config: pytest.Config, folder: str) -> Gate:
    from consent_domain.errors import ConsentError

    from consent_gate.commands.ledger import Ledger
    from consent_gate.commands.settings import Settings
    from consent_gate.gate import Gate

    purpose, snapshot = _setting(config, "purpose") or None, _setting(config, "snapshot")
    key = _setting(config, "feed_key") or os.environ.get("CONSENT_FEED_KEY", "")
    if snapshot:
        age, has_age = _setting(config, "max_age"), _setting(config, "max_age").isdecimal()
        if not key or not has_age:
            raise ConsentError(
                "invalid_value",
                "a snapshot needs the ledger's public key (consent_feed_key), and its greatest age in s "
                f"(consent_max_age, which is {age!r})",
            )
        return Gate.offline(snapshot, verifier_key=key, max_age=int(age), purpose=purpose, replica_dir=folder)
    url = _setting(config, "url") or os.environ.get("CONSENT_URL", "")
    token = os.environ.get("CONSENT_TOKEN", "")
    if not url or not token:
        raise ConsentError(
            "invalid_value",
            "no ledger to ask: say its address by --consent-url, consent_url or CONSENT_URL, and an API "
            "key of a pipeline by CONSENT_TOKEN",
        )
    with Ledger(Settings(url, token, key, "")) as ledger:
        ledger.require_feed(key)
    return Gate.connect(url, token, purpose=purpose, replica_dir=folder, verifier_key=key or None)


def _setting(config: pytest.Config, name: str) -> str:
    return str(config.getoption(f"consent_{name}") or config.getini(f"consent_{name}") or "")
