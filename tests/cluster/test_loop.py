# SPDX-License-Identifier: Apache-2.0
"""The loop on a cluster: recorded answers, a verdict, one Job that recompiles, a candidate; and who may create what.

Verdicts are about whole days, so that the days before this one are recorded elsewhere, by the same code, and copied to
the volume. In their last four the corpus has changed, and the artifact answers wrongly.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drifting
import drifting_world
import pytest
from charts import CHART, TOOLS
from cluster_desk import Desk, page_values
from cluster_install import Install
from cluster_release import NAME, RELEASE, SMALL, Cluster, Release, merged
from kube import Refused, eventually, run
from loop_accounts import ACCOUNTS, CREATABLE, RECOMPILE, REEVALUATE, created, forged_jobs, may, the_loop_s_job

from slipway_server.artifacts import manifest_path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SPACE = "search"
"""As the page has it."""
DAYS, DEGRADED, PER_DAY = 19, 4, 80
CORRECTIONS = 40
JOB_SECONDS = 300
LEFT_SECONDS = 900


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[drifting_world.World]:
    """A deployment's last weeks: a good baseline, then a corpus that changed; this day is there, too."""
    today = time.time() // drifting_world.DAY * drifting_world.DAY
    if today + drifting_world.DAY - time.time() < LEFT_SECONDS:
        pytest.skip("verdicts are about whole days, and this one (UTC) would end in the middle of the test")
    start = today - DAYS * drifting_world.DAY
    with drifting_world.opened(tmp_path_factory.mktemp("world"), start) as world:
        world.serve(DAYS - DEGRADED, PER_DAY)
        world.change_corpus(changed=True)
        world.serve(DEGRADED + 1, PER_DAY)
        world.correct(CORRECTIONS)
        yield world


@pytest.fixture(scope="module")
def desk(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(cluster.kubectl, tmp_path_factory.mktemp("desk"), __file__)


@pytest.fixture(scope="module")
def release(install: Install, world: drifting_world.World, full_image: str, desk: Desk) -> Iterator[Release]:
    """The world's program and artifact, with its days on the volume, and the loop switched on as the page says."""
    with install(SPACE, replicas=2, provider={"latency_seconds": 0.01}) as release:
        assert not release.kubectl.json("get", "roles")["items"]
        put_on_volume(release, world.settings.data_dir, "collections")
        put_on_volume(release, world.folder / "traffic", "traffic")
        program = {"drifting.py": Path(drifting.__file__).read_text("utf-8")}
        release.kubectl.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "program"}, "data": program}
        )
        (desk.folder / "bundle").symlink_to(world.bundle.folder)
        values = merged(page_values("loop-values.yaml"), of_the_world(world, full_image))
        (desk.folder / "loop-values.yaml").write_text(json.dumps(values), "utf-8")
        desk.type("The loop", "create configmap")
        desk.type("The loop", "helm upgrade")
        release.ready()
        yield release
        release.helm("uninstall")
        left = release.cluster.kubectl("get", "validatingadmissionpolicies", "--output=name")
        assert f".{NAME}.{release.namespace}." not in left, left


def of_the_world(world: drifting_world.World, image: str) -> dict[str, Any]:
    """What differs from the page's values, and the artifact."""
    artifact = world.store.current()
    repository, _, tag = image.rpartition(":")
    return {
        "program": {"path": "drifting:Archive", "existingConfigMap": "program"},
        "retrieval": {"collection": "mills"},
        "artifacts": {
            "w": {"state": artifact.read_text("utf-8"), "manifest": manifest_path(artifact).read_text("utf-8")}
        },
        "variants": {"stable": {"artifact": "w"}},
        "traffic": {"sample": 1.0},
        "loop": {
            "judge": {"metric": "drifting:judged"},
            "resources": SMALL,
            "recompile": {"image": {"repository": repository, "tag": tag}, "chart": str(CHART), "resources": SMALL},
        },
    }


def put_on_volume(release: Release, folder: Path, name: str) -> None:
    """Copy a folder through a pod, so that its files belong to the pods' user."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, arcname=name)
    pod = next(iter(release.pods()))
    unpack = "base64 -d | tar xz --no-same-owner -C /var/lib/slipway"
    release.kubectl("exec", "-i", pod, "--", "sh", "-c", unpack, input=base64.b64encode(packed.getvalue()).decode())


def jobs(release: Release, component: str) -> dict[str, dict[str, Any]]:
    """The Jobs that belong to one of the loop's CronJobs."""
    return {
        job["metadata"]["name"]: job
        for job in release.kubectl.json("get", "jobs")["items"]
        if [owner["name"] for owner in job["metadata"].get("ownerReferences", ())] == [f"{NAME}-{component}"]
    }


def log(release: Release, job: str) -> str:
    """What a Job printed, once it has succeeded."""
    release.kubectl("wait", f"job/{job}", "--for=condition=Complete", f"--timeout={JOB_SECONDS}s")
    return release.kubectl("logs", f"job/{job}")


def test_two_runs_at_once_find_the_drop_and_start_one_recompilation(
    release: Release, world: drifting_world.World, desk: Desk
) -> None:
    digest = world.store.list()[0].manifest.digest
    desk.type("The loop", "create job reevaluate-now")
    release.kubectl("create", "job", "now-2", f"--from=cronjob/{REEVALUATE}")
    said = [log(release, name) for name in ("reevaluate-now", "now-2")]
    assert all("DEGRADED: " in one for one in said), said
    assert sorted(jobs(release, "recompile")) == [f"{RECOMPILE}-{digest[:16]}"]
    assert sum(f"Job {RECOMPILE}-{digest[:16]} recompiles" in one for one in said) == 1, said

    after = log(release, f"{RECOMPILE}-{digest[:16]}")
    assert "PASS: " in after, after
    [candidate] = [
        one
        for one in release.kubectl.json("get", "configmaps", "-lapp.kubernetes.io/component=candidate")["items"]
        if one["metadata"]["labels"]["slipway/parent"] == digest[:16]
    ]
    assert candidate["immutable"] is True
    assert candidate["metadata"]["name"] in after
    reasons = {event["reason"] for event in release.kubectl.json("get", "events")["items"]}
    assert {"QualityDegraded", "CandidatePublished"} <= reasons

    again = "now-3"
    release.kubectl("create", "job", again, f"--from=cronjob/{REEVALUATE}")
    assert "DEGRADED: " in log(release, again)
    assert len(jobs(release, "recompile")) == 1

    [step] = [line for line in after.splitlines() if "# 10 %" in line]
    words = shlex.split(step, comments=True)
    assert words[:3] == ["helm", "upgrade", RELEASE]
    run(str(TOOLS / "helm4"), *words[1:], environ=release.kubectl.environ)
    release.ready()
    served = served_artifacts(release)
    assert served == {"stable": digest, "candidate": candidate["metadata"]["annotations"]["slipway/digest"]}

    desk.type("The loop", "traffic export")
    asked = [json.loads(line) for line in (desk.folder / "questions.jsonl").read_text("utf-8").splitlines()]
    assert {drifting.question(place) for place in drifting.PLACES} & {one["question"] for one in asked}
    desk.finished()


def served_artifacts(release: Release) -> dict[str, str]:
    """Digest by variant, as the pods' environment has them."""
    [container] = release.deployment()["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "") for one in container["env"]}
    keys = {"stable": "SLIPWAY_ARTIFACT_DIGEST", "candidate": "SLIPWAY_CANDIDATE_ARTIFACT_DIGEST"}
    return {variant: environment[key] for variant, key in keys.items() if key in environment}


def test_live_answers_are_recorded(release: Release) -> None:
    asked = [drifting.question(place) for place in drifting.PLACES[70:90]]
    pod = next(iter(release.pods()))

    def recorded() -> int:
        return len(release.kubectl("exec", pod, "--", "slipway", "traffic", "export").splitlines())

    before = recorded()
    run = release.callers.start("asking", target=release.target, callers=4, calls=20, questions=asked)
    report = run.report()
    assert not report.failed, report
    eventually(lambda: recorded() >= before + len(report.calls), "every live answer is recorded")


# ---- rights


def test_serving_pods_can_create_nothing(release: Release) -> None:
    [pod, *_] = release.pod_objects()
    account = pod["spec"]["serviceAccountName"]
    assert not [what for what in CREATABLE if may(release, account, "create", what)]
    with pytest.raises(Refused, match="No such file"):
        release.kubectl("exec", pod["metadata"]["name"], "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount")


def test_the_loop_s_accounts_may_create_what_they_make_and_nothing_else(release: Release) -> None:
    allowed = {account: {what for what in CREATABLE if may(release, account, "create", what)} for account in ACCOUNTS}
    assert allowed == {REEVALUATE: {"jobs", "events"}, RECOMPILE: {"configmaps", "events"}}
    for account in ACCOUNTS:
        assert not [
            verb for verb in ("get", "list", "delete", "update", "patch") if may(release, account, verb, "secrets")
        ]
        assert not [
            verb for verb in ("get", "list", "delete", "update", "patch") if may(release, account, verb, "jobs")
        ]


def test_a_policy_holds_jobs_to_what_the_cronjob_describes(release: Release) -> None:
    job = the_loop_s_job(release)
    eventually(lambda: created(release, REEVALUATE, job) == "", "the loop's own Job is admitted")
    for part, forged in forged_jobs(job):
        said = created(release, REEVALUATE, forged)
        assert "denied request" in said, f"{part}: {said or 'admitted'}"
        assert part in said, f"{part}: {said}"


def test_a_policy_holds_configmaps_and_events_to_candidates(release: Release) -> None:
    digest = "ab" * 32
    good = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{RELEASE}-candidate-{digest[:8]}",
            "labels": {"app.kubernetes.io/component": "candidate"},
            "annotations": {"slipway/digest": digest},
        },
        "immutable": True,
        "data": {"x.json": "{}"},
    }
    assert created(release, RECOMPILE, good) == ""
    bad: list[dict[str, Any]] = [
        {"metadata": {**good["metadata"], "name": f"{NAME}-routing-2"}},
        {"metadata": {**good["metadata"], "annotations": {"slipway/digest": "cd" * 32}}},
        {"metadata": {**good["metadata"], "labels": {}}},
        {"immutable": False},
        {"data": {"run.sh": "x"}},
    ]
    for change in bad:
        assert "denied request" in created(release, RECOMPILE, {**good, **change}), change
    about = {"apiVersion": "v1", "kind": "Pod", "name": "other", "namespace": release.namespace}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "other.1"}, "involvedObject": about}
    for account in ACCOUNTS:
        assert "denied request" in created(release, account, {**event, "source": {"component": "slipway-loop"}})


def test_nobody_else_is_held(release: Release) -> None:
    mine = ("create", "job", "mine", f"--image={release.cluster.image}", "--dry-run=server")
    release.kubectl(*mine)
    release.kubectl("delete", "cronjob", RECOMPILE)
    release.kubectl(*mine)
