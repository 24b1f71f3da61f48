"""A run's manifest in MLflow: an artifact, its inputs and outputs, and tags to find it by.

    with mlflow.start_run():
        …
        log_manifest(prepared, register(prepared, url, token))

It works with `mlflow-skinny` alone (extra `mlflow`). The tags are `consent.run`, `consent.purpose`,
`consent.position`, `consent.token`, `consent.manifest_sha256` and `consent.outputs`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from consent_domain import manifest as manifests
from consent_domain.errors import ConsentError
from consent_domain.identifiers import parse_token
from consent_domain.manifest import Input

from consent_gate.coverage import Asset, require_some
from consent_gate.manifests import Prepared

FOLDER = "consent"
RUN_TAG = "consent.run"
_DIGEST_CHARACTERS_MAX = 36
"""MLflow's own bound."""
_PAGE = 1_000


def log_manifest(prepared: Prepared, told: dict[str, Any] | None = None, run_id: str | None = None) -> None:
    """Log a manifest to a run of MLflow: the active one, or the one named.

    `told` is the ledger's answer to the registration; without it the run is not tagged as registered.
    Raises ConsentError `unavailable` without the extra, `wrong_state` if no run is active; MlflowException.
    """
    mlflow = _mlflow()
    active = mlflow.active_run()
    identifier = run_id or (active.info.run_id if active else "")
    if not identifier:
        raise ConsentError("wrong_state", "no run of MLflow is active: start one, or name it by run_id")
    client = mlflow.MlflowClient()
    manifest = prepared.manifest
    encoded = manifests.encode(manifest)
    client.log_text(identifier, encoded.decode(), f"{FOLDER}/manifest.json")
    if told is not None:
        client.log_dict(identifier, told, f"{FOLDER}/registration.json")
    _log_inputs(client, identifier, manifest.inputs)
    tags = {
        "consent.purpose": manifest.purpose,
        "consent.position": str(parse_token(manifest.token).position),
        "consent.token": manifest.token,
        "consent.manifest_sha256": hashlib.sha256(encoded).hexdigest(),
        "consent.outputs": json.dumps(
            [f"{one.kind} {one.uri} {one.version}".strip() for one in manifest.outputs]
        ),
    }
    if told is not None:
        tags[RUN_TAG] = manifest.run
    for name, value in tags.items():
        client.set_tag(identifier, name, value)


def _log_inputs(client: Any, run_id: str, inputs: list[Input]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    logged = [
        DatasetInput(
            Dataset(
                name=one.uri.rstrip("/").rpartition("/")[2] or one.uri,
                digest=(one.digest or hashlib.sha256(one.uri.encode()).hexdigest())[-_DIGEST_CHARACTERS_MAX:],
                source_type="uri",
                source=json.dumps({"uri": one.uri}),
            ),
            [],
        )
        for one in inputs
    ]
    if logged:
        client.log_inputs(run_id, datasets=logged)


def inventory_of(uri: str) -> list[Asset]:
    """Every version of every registered model of the registry at `uri`, as assets named `models:/NAME`.

    A version's run is that of its tag `consent.run`, or of its MLflow run's. Raises ConsentError
    `unavailable` without the extra or if the registry does not answer, `invalid_value` if it is empty.
    """
    mlflow = _mlflow()
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        found = [_asset(client, version) for version in _versions(client)]
    except mlflow.exceptions.MlflowException as error:
        raise ConsentError("unavailable", f"the registry at {uri} does not answer: {error}") from error
    return require_some(found, uri)


def _versions(client: Any) -> list[Any]:
    found: list[Any] = []
    page: str | None = None
    while True:
        some = client.search_model_versions(max_results=_PAGE, page_token=page)
        found += some
        page = some.token
        if not page:
            return found


def _asset(client: Any, version: Any) -> Asset:
    run = version.tags.get(RUN_TAG, "")
    if not run and version.run_id:
        run = client.get_run(version.run_id).data.tags.get(RUN_TAG, "")
    return Asset("model", f"models:/{version.name}", str(version.version), run)


def _mlflow() -> Any:
    try:
        import mlflow
        import mlflow.exceptions
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[mlflow]'"
        ) from error
    return mlflow
