# SPDX-License-Identifier: Apache-2.0
"""A release on Kubernetes, as a shipper changes it: what Helm knows of it, a command for each step.

    helm = Helm("answers", "search", chart="deploy/helm/slipway")
    plan = ship(helm.state(), artifact, weight_bps=1000)
    print(shlex.join(plan.words(helm)))

Nothing here talks to a cluster but Helm itself, which a person would run in the same words.
"""

from slipway_server.release.helm import Helm
from slipway_server.release.manifests import Difference, differences
from slipway_server.release.plan import Plan, promote, rollback, share, ship, stop
from slipway_server.release.state import Given, Revision, State

__all__ = [
    "Difference",
    "Given",
    "Helm",
    "Plan",
    "Revision",
    "State",
    "differences",
    "promote",
    "rollback",
    "share",
    "ship",
    "stop",
]
