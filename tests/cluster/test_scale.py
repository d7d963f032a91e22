# SPDX-License-Identifier: Apache-2.0
"""2 → 6 → 2 pods under a load beyond the provider's quota: new pods get their share of calls, and the quota is kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from cluster_install import Install
from cluster_load import Report
from cluster_release import Figures, Release
from kube import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RPM = 900
BURST_SECONDS = 6
CONNECTION_AGE_SECONDS = 20
DNS_SECONDS = 10
"""The cluster's DNS may remember the pods of before for so long."""
CALLERS = 60
"""More than the quota serves: with an LM of 0.2 s they would ask 300 times a second."""
RATE_LIMITED = 429
MANY = 6


@pytest.fixture(scope="module")
def release(install: Install) -> Iterator[Release]:
    provider = {"rpm": RPM, "burst_seconds": BURST_SECONDS, "latency_seconds": 0.2}
    values = {"serving": {"connectionAgeSeconds": CONNECTION_AGE_SECONDS}}
    with install("scale", replicas=2, provider=provider, values=values) as release:
        yield release


def scaled(release: Release, pods: int) -> float:
    """Scale as a person does, and wait until it is so. Returns the time."""
    release.upgrade("--set", f"serving.replicas={pods}")
    release.ready()
    return time.time()


def more_answers(release: Release, count: int) -> None:
    """Wait until the provider has answered so many more calls."""
    before = release.provider.summary()["requests"]
    eventually(lambda: release.provider.summary()["requests"] >= before + count, f"{count} more LM calls")


def used(report: Report, start: float, end: float) -> float:
    """The part of the quota that calls which were answered in [start, end) took."""
    attempts = sum(call.attempts for call in report.calls if start <= call.ended < end)
    return attempts / ((end - start) * RPM / 60)


def test_new_pods_get_their_share_and_the_quota_is_kept(release: Release, figures: Figures) -> None:
    release.provider.reset()
    load = release.callers.start(
        "scale", target=release.target, callers=CALLERS, channels=12, node=release.near, deadline_seconds=60
    ).running()
    began = time.time()
    more_answers(release, RPM // 5)
    wider = time.time()
    wide = scaled(release, MANY)
    eventually(lambda: time.time() > wide + 1.1 * CONNECTION_AGE_SECONDS + DNS_SECONDS, "every connection was renewed")
    renewed = time.time()
    more_answers(release, RPM // 5)
    narrow = time.time()
    again = scaled(release, 2)
    more_answers(release, RPM // 5)
    ended = time.time()
    report = load.stop()
    ledger = release.provider.ledger()

    assert not report.failed, report
    share = report.within(renewed, narrow).count("server")
    figures["2 → 6 → 2 pods: RPCs, none failed"] = len(report.calls)
    figures["2 → 6 pods: smallest share of a pod, of an even one"] = MANY * min(share.values()) / sum(share.values())
    assert len(share) == MANY, share
    assert min(share.values()) >= sum(share.values()) / MANY / 2, share

    limited = sum(entry.status == RATE_LIMITED for entry in ledger) / len(ledger)
    quota = {
        "2 pods": used(report, began, wider),
        "6 pods": used(report, renewed, narrow),
        "2 pods again": used(report, again, ended),
    }
    figures["2 → 6 → 2 pods: 429s of the provider's ledger (%)"] = 100 * limited
    figures.update({f"quota used by {pods} (%)": 100 * part for pods, part in quota.items()})
    assert limited < 0.01, Counter(entry.status for entry in ledger)
    assert min(quota.values()) > 0.75, quota
