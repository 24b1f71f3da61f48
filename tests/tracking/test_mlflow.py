"""Given a prepared manifest, when it is logged to MLflow (where it is installed), then it is found again."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from consent_domain import manifest as manifests
from consent_domain.errors import ConsentError
from consent_domain.manifest import Input, Manifest
from consent_gate.manifests import Prepared, encode_set, model

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: consent-gate[mlflow]")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    # Skinny comes without a database; a file store is as good for a test.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("consent", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("consent")
    return uri


def some() -> Prepared:
    data = encode_set([5, 9])
    manifest = Manifest(
        run="ranker-1", purpose="ranking.train", categories=[], token="consent.test/ledger/1/12",
        at=datetime(2026, 1, 31, tzinfo=UTC), policy_version="1", mode="replica", collected="unstated",
        workspaces="2", set_sha256=hashlib.sha256(data).hexdigest(), outputs=[model("models:/ranker", "1")],
        inputs=[Input(uri="s3://bucket/clicks", digest="sha256:" + "ab" * 32)],
    )  # fmt: skip
    return Prepared(manifest, data)


def test_given_an_active_run_then_manifest_inputs_and_tags_are_in_it(store: str) -> None:
    from consent_gate.mlflow import log_manifest

    with mlflow.start_run() as run:
        log_manifest(some(), {"run": "ranker-1", "position": "13"})
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id)
    assert found.data.tags["consent.position"] == "12"
    assert found.data.tags["consent.purpose"] == "ranking.train"
    assert found.data.tags["consent.run"] == "ranker-1"
    assert json.loads(found.data.tags["consent.outputs"]) == ["model models:/ranker 1"]
    (logged,) = found.inputs.dataset_inputs
    assert json.loads(logged.dataset.source) == {"uri": "s3://bucket/clicks"}
    path = client.download_artifacts(run.info.run_id, "consent/manifest.json")
    assert Path(path).read_bytes() == manifests.encode(some().manifest)


def test_given_no_registration_then_the_run_is_not_tagged_as_registered(store: str) -> None:
    from consent_gate.mlflow import log_manifest

    with mlflow.start_run() as run:
        log_manifest(some())
    assert "consent.run" not in mlflow.MlflowClient().get_run(run.info.run_id).data.tags


def test_given_no_active_run_then_it_says_what_to_do(store: str) -> None:
    from consent_gate.mlflow import log_manifest

    with pytest.raises(ConsentError, match="wrong_state"):
        log_manifest(some())


def test_given_a_registry_then_every_version_is_an_asset_with_its_run(store: str) -> None:
    from consent_gate.mlflow import inventory_of, log_manifest

    with pytest.raises(ConsentError, match="lists nothing"):
        inventory_of(store)
    with mlflow.start_run() as run:
        log_manifest(some(), {"run": "ranker-1"})
    client = mlflow.MlflowClient()
    client.create_registered_model("ranker")
    client.create_model_version("ranker", "file:///model", run.info.run_id)
    client.create_model_version("ranker", "file:///model")
    found = sorted(inventory_of(store))
    assert [(one.name, one.version, one.run) for one in found] == [
        ("models:/ranker", "1", "ranker-1"),
        ("models:/ranker", "2", ""),
    ]
