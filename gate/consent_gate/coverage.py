"""Coverage: the ledger proves its answers, and not that everybody asked.

Each asset of an inventory is `covered` by a run that names it as an output, and that nobody whose data it
used objects to; has `no_manifest`; is `outdated`: somebody whose data it holds withdrew after, so that it
must be purged or trained again, and was not yet; or is `objected`: it holds data of somebody who has since
opted out of that purpose, without asking for what exists. Nothing is due of it then, but it is no longer
what everybody agreed to: somebody must look at it, and say so by a discharge. Whatever cannot be told is not
covered.
"""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError

KINDS = ("model", "dataset", "index", "features", "job")
ASSETS_MAX = 100_000
_COLUMNS = ("kind", "name", "version", "run")
Told = dict[str, Any]


class Asset(NamedTuple):
    """A line of an inventory. `name` is the uri of an output, for a job its code; `run` if it is known."""

    kind: str
    name: str
    version: str = ""
    run: str = ""


class Finding(NamedTuple):
    """An asset and how it stands: `covered`, `no_manifest`, `outdated` or `objected`, and why, in words."""

    asset: Asset
    state: str
    run: str = ""
    why: str = ""
    due_at: str = ""

    def told(self) -> dict[str, str]:
        """For JSON."""
        return {**self.asset._asdict(), "state": self.state, "coveredBy": self.run, "why": self.why,
                "dueAt": self.due_at}  # fmt: skip


class Against(NamedTuple):
    """What speaks against a run, as `GET /v1/obligations` tells it: what is due of it, and who objects."""

    due: list[Told]
    objections: list[Told]


def inventory(path: Path) -> list[Asset]:
    """The assets in a CSV file with the columns kind, name and, if wanted, version and run.

    Raises ConsentError `invalid_value` for a file that is none, or has nothing in it: an empty inventory
    covers nothing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = [name.strip() for name in rows.fieldnames or ()]
            rows.fieldnames = columns
            if not {"kind", "name"} <= set(columns) <= set(_COLUMNS):
                raise ConsentError(
                    "invalid_value", f"{path} must have the columns kind, name and may have version, run"
                )
            found = [_asset(path, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConsentError("invalid_value", f"{path} cannot be read as CSV: {error}") from error
    return require_some(found, str(path))


def require_some(found: list[Asset], where: str) -> list[Asset]:
    """The assets themselves. Raises ConsentError `invalid_value` if there are none, or too many."""
    if not found:
        raise ConsentError("invalid_value", f"{where} lists nothing: an empty inventory covers nothing")
    if len(found) > ASSETS_MAX:
        raise ConsentError("invalid_value", f"{where} lists {len(found)} assets of at most {ASSETS_MAX}")
    return found


def _asset(path: Path, line: int, row: Told) -> Asset:
    if None in row or None in row.values():
        raise ConsentError("invalid_value", f"{path} line {line} has more or fewer cells than the first")
    asset = Asset(**{name: value.strip() for name, value in row.items()})
    if asset.kind not in KINDS or not asset.name:
        raise ConsentError(
            "invalid_value", f"{path} line {line}: kind must be one of {', '.join(KINDS)}, and name be given"
        )
    return asset


def covered(
    assets: Iterable[Asset], runs: Sequence[Told], against: Callable[[str], Against]
) -> list[Finding]:
    """How each asset stands. `runs` are the ledger's, oldest first; `against` gives what is open of a run."""
    known: dict[str, Against] = {}

    def once(run: str) -> Against:
        if run not in known:
            known[run] = against(run)
        return known[run]

    return [_found(asset, runs, once) for asset in assets]


def _found(asset: Asset, runs: Sequence[Told], against: Callable[[str], Against]) -> Finding:
    matching = [run for run in runs if _made(run, asset)]
    if not matching:
        named = [run for run in runs if run["run"] == asset.run]
        why = "no run is registered that names it"
        if asset.run:
            why = f"run {asset.run} does not name it" if named else f"run {asset.run} is not registered"
        return Finding(asset, "no_manifest", why=why)
    run = matching[-1]["run"]
    found = against(run)
    due = [one for one in found.due if _concerns(one, asset)]
    if due:
        return Finding(asset, "outdated", run, _who(due, "withdrew after"), min(one["dueAt"] for one in due))
    objections = [one for one in found.objections if _concerns(one, asset)]
    if objections:
        return Finding(asset, "objected", run, _who(objections, "objects since, and asked for nothing back"))
    return Finding(asset, "covered", run)


def _who(against: list[Told], did: str) -> str:
    who = sorted({one["workspace"] for one in against})
    because = ", ".join(sorted({one["because"] for one in against}))
    return f"{len(who)} {did} ({because}): {', '.join(who[:3])}" + ("…" if who[3:] else "")


def _made(run: Told, asset: Asset) -> bool:
    if asset.run and run["run"] != asset.run:
        return False
    if asset.kind == "job":
        return bool(asset.run) or asset.name in (run.get("code"), run["run"])
    return any(
        output["uri"] == asset.name and asset.version in ("", output.get("version", ""))
        for output in run.get("outputs", ())
    )


def _concerns(obligation: Told, asset: Asset) -> bool:
    """Whether anything open of an obligation is the asset. Outputs without a uri may be anything."""
    outputs = [one for one in obligation["outputs"] if one["open"]]
    return bool(outputs) and (
        asset.kind == "job" or any(one.get("uri", asset.name) == asset.name for one in outputs)
    )


def as_html(findings: Sequence[Finding], token: str) -> str:
    """One page without anything from elsewhere; what others wrote is shown, never obeyed."""
    rows = "\n".join(
        "<tr class={}>{}</tr>".format(
            one.state,
            "".join(
                f"<td>{html.escape(cell)}</td>"
                for cell in (one.state, one.asset.kind, one.asset.name, one.asset.version, one.run, one.why,
                             one.due_at)
            ),
        )
        for one in findings
    )  # fmt: skip
    counts = {state: sum(one.state == state for one in findings) for state in _STATES}
    return _PAGE.format(rows=rows, token=html.escape(token), **counts)


_STATES = ("covered", "outdated", "objected", "no_manifest")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Consent coverage</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222 }}
table {{ border-collapse: collapse }}
td, th {{ padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left }}
.covered td:first-child {{ color: #176b37 }}
.outdated td:first-child, .objected td:first-child, .no_manifest td:first-child {{
  color: #a3140f; font-weight: 600
}}
</style>
<h1>Consent coverage</h1>
<p>{covered} covered, {outdated} outdated, {objected} objected to, {no_manifest} without a manifest;
by the ledger at {token}.</p>
<table><tr><th>state<th>kind<th>name<th>version<th>run<th>why<th>due</tr>
{rows}
</table></html>
"""
