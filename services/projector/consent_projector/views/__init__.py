"""The views: each a pure fold of the log into the rows of one table."""

from __future__ import annotations

from consent_projector.seams import View
from consent_projector.views.counts import COUNTS
from consent_projector.views.exposure import EXPOSURE
from consent_projector.views.facts import FACTS
from consent_projector.views.requests import REQUESTS
from consent_projector.views.runs import RUNS

VIEWS: dict[str, View] = {view.name: view for view in (FACTS, REQUESTS, COUNTS, RUNS, EXPOSURE)}
