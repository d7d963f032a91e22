# SPDX-License-Identifier: Apache-2.0
"""Bad artifacts: the hook refuses them before anything changes; without the hook they stall and the old pods answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from bad_artifacts import BAD, rewrite
from charts import HELMS
from cluster_install import Install
from cluster_release import Figures, Release
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


MISSING = {
    "Secret": (
        "lm.existingSecret=nobody",
        r"lm\.existingSecret is nobody, which is no Secret of the namespace refusal",
    ),
    "key": ("lm.secretKey=key", r"a Secret without the key key: add that key to it, .* \(it has: api-key\)"),
    "ConfigMap": ("program.existingConfigMap=none", r"program\.existingConfigMap is none, which is no ConfigMap of"),
    "claim": ("volume.existingClaim=none", r"volume\.existingClaim is none, which is no PersistentVolumeClaim of"),
    "file": (
        "volume.mode=claim,volume.existingClaim=,variants.stable.artifact=big,artifacts.big.path=big.json,"
        f"artifacts.big.digest={'0a' * 32}",
        r"variants\.stable\.artifact is big, a file on a volume that is not there yet",
    ),
}


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize("what", MISSING)
def test_what_is_not_there_is_refused_before_anything_is_sent(
    release: Release, what: str, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "tool", tool)
    generation = release.deployment()["metadata"]["generation"]
    revision = release.revision()
    values, sentence = MISSING[what]
    with pytest.raises(Refused, match=sentence):
        release.upgrade("--set", values)
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
