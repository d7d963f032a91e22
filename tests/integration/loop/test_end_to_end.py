# SPDX-License-Identifier: Apache-2.0
"""One deployment, and what may happen to it: where answers become worse it is recompiled; where only the provider is
in trouble nothing is said of quality, and nothing is recompiled.

Both runs have the same past: recorded answers, a baseline that an LM judge has made, a healthy day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drifting_world
import orjson
import pytest

from slipway_server.improve.places import loop_folder

Slipway = Callable[..., tuple[int, Any]]
DAYS, PER_DAY = 14, 80
pytestmark = pytest.mark.timeout(300)


def reevaluation(world: drifting_world.World) -> tuple[str, ...]:
    """What the CronJob runs."""
    return "reevaluate", "--bundle", str(world.bundle.folder), "--until", world.now, "--on-degraded", "run"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[drifting_world.World]:
    """Two weeks that made the baseline, and a healthy day."""
    with drifting_world.opened(tmp_path_factory.mktemp("past")) as world:
        world.overrides = {"judge_metric": "drifting:judged_by_lm"}
        for days, expected in ((DAYS, "BASELINING"), (1, "HEALTHY")):
            world.serve(days, PER_DAY)
            out, error = world.launch(*reevaluation(world), "--json").communicate(timeout=200)
            assert out, error.decode()
            report = orjson.loads(out)
            assert (report["verdict"], report["judged_now"]) == (expected, days * PER_DAY)
        assert report["baseline"]["mean"] > 0.95
        assert report["baseline"]["day_sd"] == 0
        assert world.provider.ledger.count(status=200) > (DAYS + 1) * PER_DAY
        yield world


@pytest.fixture
def world(past: drifting_world.World, tmp_path: Path) -> Iterator[drifting_world.World]:
    """The past's next day, in a world of the test's own."""
    yield past.continued_in(tmp_path)
    past.provider.configure(fault="none")


def test_a_changed_corpus_is_found_recompiled_and_gated(world: drifting_world.World, slipway: Slipway) -> None:
    bundle = ("--bundle", str(world.bundle.folder))
    incumbent = world.store.list()[0].manifest.digest
    code, nothing = slipway("recompile", *bundle)
    assert (code, nothing["verdict"]) == (1, "NOT_DEGRADED")

    world.change_corpus(changed=True)
    world.serve(4, PER_DAY)
    world.correct(40)
    _, report = slipway(*reevaluation(world))
    assert report["verdict"] == "DEGRADED", report["reason"]
    assert [point["verdict"] for point in report["series"][-4:]] == ["WATCH", "WATCH", "WATCH", "DEGRADED"]
    assert report["diagnosis"]["cause"] == "retrieval"
    assert report["guard"]["flips"] == 0
    assert report["recompile"]["granted"]
    page = Path(report["path"]).with_suffix(".html").read_text()
    assert "DEGRADED" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")

    entries = {entry.manifest.digest: entry for entry in world.store.list()}
    assert entries[incumbent].current
    [candidate] = [entry for digest, entry in entries.items() if digest != incumbent]
    assert candidate.manifest.parent == incumbent
    assert candidate.manifest.data["trigger"].name == report["recompile"]["window"]
    assert candidate.manifest.data["feedback"].examples == 40
    code, result = slipway("recompile", *bundle)
    assert (code, result["verdict"], result["repeated"]) == (0, "PASS", True)
    assert result["comparison"]["difference"] > 0.5
    assert result["candidate"]["digest"] == candidate.manifest.digest

    _, report = slipway(*reevaluation(world))
    assert (report["judged_now"], report["recompile"]["granted"]) == (0, False)
    assert len(world.store.list()) == 2


@pytest.mark.parametrize("trouble", ["rate-limit", "unavailable", "hang"])
def test_the_same_run_with_a_provider_in_trouble_says_nothing_of_quality(
    world: drifting_world.World, slipway: Slipway, trouble: str
) -> None:
    """Callers meet it, too: what the cache does not know fails. What it knows is answered, and waits for its judge."""
    patient, world.overrides = world.overrides, {**world.overrides, "lm_attempt_timeout_seconds": 0.1}
    world.provider.configure(fault=trouble, retry_after_seconds=0.01)
    assert world.serve(1, 3, use_cache=False) == (0, 3)
    assert world.serve(4, PER_DAY) == (4 * PER_DAY, 0)
    world.correct(40)
    _, report = slipway(*reevaluation(world))
    assert report["verdict"] == "INCONCLUSIVE"
    assert report["void"]
    assert report["diagnosis"]["cause"] == "capacity"
    assert len(report["series"]) == DAYS + 1, "no window is decided on what the trouble left over"
    assert not report["recompile"]["wanted"]

    world.provider.configure(fault="none")
    world.overrides = patient
    _, report = slipway(*reevaluation(world))
    assert [point["verdict"] for point in report["series"][DAYS + 1 :]] == ["INCONCLUSIVE", *["HEALTHY"] * 4]
    assert report["judged_now"] >= 4 * PER_DAY * 0.9
    assert len(world.store.list()) == 1
    assert not list(loop_folder(world.settings).glob("claims/*"))
