# SPDX-License-Identifier: Apache-2.0
"""Bad artifacts: the hook refuses them before anything changes; without the hook they stall and the old pods answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from bad_artifacts import BAD, rewrite
from charts import HELMS
from cluster_release import Figures, Install, Release
from kube import Refused, eventually

from slipway_server.artifacts import manifest_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

KINDS = (
    "an LM of its own",
    "a config that sends the key elsewhere",
    "a further predictor",
    "a field description too many",
    "no demos key",
    "changed instructions",
)
CALLERS = 10
HISTORY = "--history-max=20"
"""Else Helm forgets the good revision among the bad ones: it keeps ten."""


@pytest.fixture(scope="module")
def release(install: Install) -> Iterator[Release]:
    with install("refusal", replicas=3, provider={"rpm": 6000, "latency_seconds": 0.2}) as release:
        yield release


def standing(release: Release) -> dict[str, str]:
    """The servers that are not on their way out, with their uids."""
    pods = (pod["metadata"] for pod in release.pod_objects())
    return {pod["name"]: pod["uid"] for pod in pods if "deletionTimestamp" not in pod}


def deployed(release: Release) -> int:
    """The revision that is live; those that the hook refused have numbers of their own."""
    history = orjson.loads(release.helm("history", "--output=json"))
    (live,) = (one["revision"] for one in history if one["status"] == "deployed")
    return int(live)


def key_of(kind: str) -> str:
    return f"bad{KINDS.index(kind)}"


def ended(release: Release, kind: str) -> bool:
    """Whether a server has refused the artifact and ended."""
    lines = release.last_words().splitlines()
    return any(f"{key_of(kind)}.json" in line and BAD[kind][2] in line for line in lines)


def named(release: Release, folder: Path, kind: str) -> tuple[str, ...]:
    """Helm's options that name the release's artifact, spoilt in one way, as its new stable one."""
    edit, _, _ = BAD[kind]
    artifact = release.artifact("a", folder)
    rewrite(artifact, edit, seal=kind != "changed instructions")
    digest = orjson.loads(manifest_path(artifact).read_bytes())["digest"]
    key = key_of(kind)
    files = f"artifacts.{key}.state={artifact},artifacts.{key}.manifest={manifest_path(artifact)}"
    return "--set-file", files, "--set-string", f"variants.stable.artifact={key},artifacts.{key}.digest={digest}"


@pytest.mark.parametrize("tool", HELMS)
def test_a_missing_secret_is_refused_before_anything_is_sent(
    release: Release, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "tool", tool)
    generation = release.deployment()["metadata"]["generation"]
    revision = release.revision()
    with pytest.raises(
        Refused, match=r"lm\.existingSecret is nobody, which is no Secret of the namespace refusal: make it"
    ):
        release.upgrade("--set", "lm.existingSecret=nobody")
    with pytest.raises(Refused, match=r"a Secret without the key key: add that key to it, .* \(it has: api-key\)"):
        release.upgrade("--set", "lm.secretKey=key")
    assert (release.revision(), release.deployment()["metadata"]["generation"]) == (revision, generation)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hook_refuses_it_and_no_pod_changes(release: Release, tmp_path: Path, kind: str) -> None:
    before = standing(release)
    revision = release.deployment()["metadata"]["generation"]
    with pytest.raises(Refused) as caught:
        release.upgrade(*named(release, tmp_path, kind))
    assert BAD[kind][2] in str(caught.value)
    assert release.deployment()["metadata"]["generation"] == revision
    assert standing(release) == before


def test_without_the_hook_the_rollout_stalls_and_the_old_pods_answer_everything(
    release: Release, tmp_path: Path, figures: Figures
) -> None:
    before = standing(release)
    good = deployed(release)
    load = release.callers.start("beside-bad", target=release.target, callers=CALLERS, pause_seconds=0.3).running()
    for number, kind in enumerate(KINDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        release.upgrade(*named(release, folder, kind), "--set", "verifyHook.enabled=false", HISTORY)
        eventually(lambda kind=kind: ended(release, kind), f"the new pod ends, and says why: {BAD[kind][2]}")
        assert before.items() <= standing(release).items()
    release.helm("rollback", str(good))
    eventually(lambda: standing(release) == before, "only the old pods are left")
    report = load.stop()
    assert not report.failed, report
    assert report.count("digest").keys() == {release.digest("a")}
    assert report.count("server").keys() <= before.keys()
    figures[f"{len(KINDS)} bad artifacts without the hook: RPCs beside them, none failed"] = len(report.calls)
