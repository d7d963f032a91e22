# SPDX-License-Identifier: Apache-2.0
"""One round of the loop, as the CronJob runs it: re-evaluate, claim the recompilation if there is one, report.

report = run_round(session, setup, artifact="rag-…")
report["verdict"], report["recompile"]["granted"]
"""

from __future__ import annotations

from typing import Any

import orjson

from slipway_server.artifacts.files import write_atomic
from slipway_server.improve.claims import Claim, claim
from slipway_server.improve.findings import figures, findings
from slipway_server.improve.forget import expire_reports, write_report
from slipway_server.improve.places import latest, publish
from slipway_server.improve.reevaluate import Progress, Setup, reevaluate, silent
from slipway_server.runtime.session import Session
from slipway_server.traffic.config import DAY_SECONDS


def run_round(
    session: Session, setup: Setup, artifact: str, on_progress: Progress = silent, *, may_claim: bool = True
) -> dict[str, Any]:
    """Run once and write the report; returns it. `may_claim`: this run may act on what it finds.

    Raises OperatorError where the deployment is wrong.
    """
    outcome = reevaluate(session, setup, on_progress)
    places = setup.places
    claimed: Claim | None = None
    if outcome.act:
        alarm = findings(outcome, setup, artifact, None)
        publish(places.trigger(outcome.act), {key: value for key, value in alarm.items() if key != "examples"})
        claimed = claim(places.loop, places.digest, outcome.act, setup.now) if may_claim else None
    report = findings(outcome, setup, artifact, claimed)
    path = places.report(report["window"] or "none")
    report["path"] = str(path)
    write_report(path, report)
    expire_reports(places.loop, setup.now - session.settings.traffic_retention_days * DAY_SECONDS)
    write_atomic(latest(places.loop), orjson.dumps(figures(report, setup.preset)))
    return report
