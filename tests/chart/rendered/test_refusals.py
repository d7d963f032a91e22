# SPDX-License-Identifier: Apache-2.0
"""Bad values fail the render with one sentence that says what is wrong and what to do."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from random import Random

import pytest
from charts import CHART, Helm, Refused, refusal

GUARDED = [
    (
        "default",
        "image.repository=",
        "image.repository is not set: name the repository that your image was pushed to",
    ),
    ("default", "lm.model=", "lm.model is not set: name the LM as provider/model"),
    ("default", "lm.model=offline/extractive", "which is no language model: name a provider's model"),
    ("default", "lm.endpoint=", "lm.endpoint is not set: give the provider's OpenAI-compatible address"),
    ("default", "lm.existingSecret=", "lm.existingSecret is not set: name the Secret with the provider's key"),
    ("default", "lm.keyless=true", "lm.existingSecret and lm.keyless contradict each other"),
    ("external", "retrieval.qdrant.url=", "retrieval.qdrant.url is not set: give the server's URL"),
    ("external", "retrieval.embedding.endpoint=", "retrieval.embedding.endpoint is not set: give the endpoint"),
    ("tryout", "ingest.enabled=true", "makes a collection, but retrieval.mode is none: set retrieval.mode=volume"),
    (
        "external",
        "ingest.enabled=true,volume.mode=emptyDir,volume.existingClaim=",
        "ingest.corpus is to be on the volume, but volume.mode is emptyDir: give ingest.existingConfigMap",
    ),
    ("default", "artifacts.V_2.path=x.json", "the name must be lower-case letters, digits and hyphens"),
    ("default", "artifacts.v1.path=x.json", "artifacts.v1 is given in 2 ways: give exactly one of"),
    ("default", "artifacts.v2.digest=" + "0" * 64, "artifacts.v2 is given in 0 ways: give exactly one of"),
    ("default", "artifacts.v1.manifest=", "artifacts.v1 needs both files of the artifact"),
    ("external", "artifacts.v7.manifest=x", "artifacts.v7 needs both files of the artifact"),
    ("default", "artifacts.v1.state=[]", "artifacts.v1.state is not a JSON object: pass the artifact's .json file"),
    ("default", "artifacts.v1.manifest=nonsense", "artifacts.v1.manifest states no digest: pass the .meta.json file"),
    ("default", "artifacts.v1.digest=" + "0" * 64, "artifacts.v1.digest is not the one that its manifest states"),
    ("external", "artifacts.v7.digest=", "artifacts.v7.digest is not set: give the digest"),
    ("volume", "artifacts.big.path=/big.json", "artifacts.big.path is /big.json: give the .json file's path relative"),
    ("volume", "artifacts.big.path=../big.json", "give the .json file's path relative to the volume"),
    ("tryout", "artifacts.v2.path=x.json,artifacts.v2.digest=" + "0" * 64, "artifacts.v2.path needs a volume"),
    ("default", "variants.stable.artifact=", "variants.stable.artifact is not set: name one of the artifacts"),
    ("default", "variants.stable.artifact=v9", "which is not among `artifacts`: give it there, or name one of: v1"),
    ("canary", "artifacts.v2=null", "variants.candidate.artifact is v2, which is not among `artifacts`"),
    ("canary", "variants.candidate.weight=10001", "is 10001 basis points: give 0 to 10000, which is 100 %"),
    ("canary", "variants.candidate.weight=-1", "is -1 basis points: give 0 to 10000, which is 100 %"),
    ("default", "variants.candidate.weight=500", "variants.candidate.artifact is not set: name its artifact"),
    ("canary", "variants.candidate.artifact=v1", "variants.candidate.artifact is v1, as is stable's: name another"),
    ("external", "volume.existingClaim=", "volume.mode is existingClaim but volume.existingClaim is not set"),
    ("default", "volume.existingClaim=shared", "volume.mode is claim: set volume.mode=existingClaim"),
    ("default", "volume.accessMode=ReadWriteOnce", "which one node can mount, but pods may run on several"),
    ("tryout", "retrieval.mode=volume", "where no collection can be: take retrieval.mode=qdrant or none"),
    ("tryout", "traffic.enabled=true", "traffic.enabled needs a volume that stays"),
    ("everything", "serving.deadlineSeconds=300", "is 120, but preStop, drain and the longest call need 313"),
    ("default", "serving.startupSeconds=60", "dry run and pre-warming alone may take 60: raise it"),
    (
        "default",
        "config.SLIPWAY_PREWARM_FILE=/x,config.SLIPWAY_PREWARM_SECONDS=600",
        "dry run and pre-warming alone may take 660",
    ),
    ("default", "serving.metricsPort=50051", "serving.grpcPort and serving.metricsPort are the same"),
    ("external", "autoscaling.minReplicas=9", "autoscaling.minReplicas is 9 and maxReplicas 6"),
    (
        "external",
        "autoscaling.inFlight=null,autoscaling.queueWaitSeconds=null",
        "autoscaling has nothing to aim at: set autoscaling.inFlight or queueWaitSeconds",
    ),
    ("everything", "serving.resources.requests.cpu=null", "set serving.resources.requests.cpu"),
    ("default", "serving.replicas=1", "podDisruptionBudget.enabled with 1 pod keeps nodes from being drained"),
    ("everything", "autoscaling.minReplicas=1", "podDisruptionBudget.enabled with 1 pod keeps nodes from"),
    ("everything", "podDisruptionBudget.maxUnavailable=1", "Kubernetes takes one of them"),
    ("default", "podDisruptionBudget.maxUnavailable=0", "maxUnavailable is 0, which keeps nodes from being drained"),
    ("default", "podDisruptionBudget.maxUnavailable=0%", "maxUnavailable is 0%, which keeps nodes from being drained"),
    ("default", "podDisruptionBudget.minAvailable=100%", "minAvailable is 100%, which keeps nodes from being drained"),
    ("default", "podDisruptionBudget.minAvailable=2", "minAvailable is 2 of 2 pods, which keeps nodes from"),
    ("volume", "monitoring.serviceMonitor.enabled=true", "would scrape every pod twice: enable one of them"),
    ("everything", "monitoring.rules.runbookUrl=", "monitoring.rules.runbookUrl is not set: give the address"),
    ("everything", "monitoring.disableApiCheck=false", "need the Prometheus operator (monitoring.coreos.com/v1)"),
    ("loop", "verifyHook.enabled=false", "the hook that evaluates is off: set verifyHook.enabled=true"),
    (
        "loop",
        "volume.mode=emptyDir,traffic.enabled=false,loop.enabled=false,gate.existingConfigMap=",
        "gate.examples are to be on the volume, but volume.mode is emptyDir: give gate.existingConfigMap",
    ),
    ("loop", "gate.existingConfigMap=", "whose claim is only now made: set it from the next upgrade on"),
    ("loop", "traffic.enabled=false", "traffic.enabled is false: set traffic.enabled=true, and traffic.fields"),
    ("loop", "traffic.fields=", "so that only figures are: name the program's fields, and context"),
    ("loop", "traffic.fields=answer", "traffic.fields is answer: add context, or name another metric"),
    ("loop", "loop.bundle.existingConfigMap=", "set either loop.bundle.existingConfigMap or loop.bundle.path"),
    ("loop", "loop.bundle.path=bundle", "loop.bundle is to be given in one way"),
    ("loop", "loop.recompile.candidates=/x", "loop.recompile.candidates is /x: give the folder's path relative to"),
    ("loop", "loop.recompile.image.tag=", "name the image that can compile, which is built with --target full"),
    ("loop", "loop.recompile.maxCostUsd=5", "maxCostUsd needs prices: set config.SLIPWAY_LM_PRICES"),
    ("loop", "loop.judge.model=", "the judge is the program's own LM: set loop.judge.model or endpoint"),
]


@pytest.mark.parametrize(("scenario", "bad", "sentence"), GUARDED, ids=[bad[:50] for _, bad, _ in GUARDED])
def test_a_guard_says_what_is_wrong_and_what_to_do(helm4: Helm, scenario: str, bad: str, sentence: str) -> None:
    said = refusal(helm4, scenario, "--set", bad)
    found = re.search(r"execution error at \(\S+\): (.+)", said)
    assert found, said
    assert sentence in found[1]
    assert ": " in found[1], "a cause, then a remedy"


def test_every_guard_is_tested(helm4: Helm, tmp_path: Path) -> None:
    source = (CHART / "templates/_validate.tpl").read_text(encoding="utf-8")
    messages = re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)+)"', source)
    formats = [
        re.sub(r"%[sd]", ".*?", re.escape(message.replace(r"\\", "\\")).replace("%%", "%")) for message in messages
    ]
    said = [refusal(helm4, scenario, "--set", bad) for scenario, bad, _ in GUARDED] + [too_large(helm4, tmp_path)]
    assert [one for one in formats if not any(re.search(one, text) for text in said)] == []


def too_large(helm: Helm, folder: Path) -> str:
    large = folder / "large.json"
    large.write_text('{"demos": "' + "x" * 1_000_000 + '"}', encoding="utf-8")
    return refusal(helm, "default", "--set-file", f"artifacts.v1.state={large}")


def test_artifacts_that_a_release_cannot_hold_are_refused(helm4: Helm, tmp_path: Path) -> None:
    assert "artifacts are too large together for Helm" in too_large(helm4, tmp_path)


@pytest.mark.parametrize(("key", "length"), [("state", 400_000), ("stateGz", 300_000)])
def test_artifacts_that_pass_fit_into_the_release(helm4: Helm, tmp_path: Path, key: str, length: int) -> None:
    artifact, values = tmp_path / "artifact", CHART / "ci/default-values.yaml"
    random = Random(1)
    words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(3000)]
    text = b'{"demos": "' + b" ".join(random.choices(words, k=length // 4))[: length - 100] + b'"}'
    artifact.write_bytes(text if key == "state" else base64.b64encode(random.randbytes(length * 3 // 4)))
    given = (
        "--set-file",
        f"artifacts.v1.{key}={artifact}",
        *(("--set", "artifacts.v1.state=") if key == "stateGz" else ()),
    )
    manifests = helm4.render("default", *given)
    chart = "".join(path.read_text(encoding="utf-8") for path in CHART.rglob("*.*") if path.parent.name != "ci")
    record = json.dumps([chart, values.read_text(encoding="utf-8"), artifact.read_text(encoding="utf-8"), manifests])
    assert len(base64.b64encode(gzip.compress(record.encode()))) < 1024 * 1024


def test_kubernetes_without_grpc_probes_is_refused(helm: Helm) -> None:
    with pytest.raises(Refused, match=r"requires kubeVersion: >=1\.27\.0-0"):
        helm.render("default", kubernetes="1.26.0")
