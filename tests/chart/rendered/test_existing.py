# SPDX-License-Identifier: Apache-2.0
"""Where a cluster answers, what pods would wait for must be in it: else nothing is sent, and the remedy is said.

What passes is rendered with Helm 3: Helm 4 would go on to ask for schemas of every kind; tests/cluster has those.
"""

from __future__ import annotations

import re

import pytest
from charts import CHART, NAME, Helm, Refused, parsed
from kube_api import Held, answering

EXAMPLES = {"configmaps/regression": ["regression.jsonl"]}
RAG = {"configmaps/rag-v7": ["rag-20261121T1312Z-token-f1_0.627-5a080997.json"]}
OPENAI = {"secrets/openai": ["api-key"]}
SCENARIOS: dict[str, dict[str, Held]] = {
    "default": {"lm.existingSecret": OPENAI},
    "external": {
        "retrieval.qdrant.existingSecret": {"secrets/qdrant": ["api-key"]},
        "artifacts.v7.existingConfigMap": RAG,
        "volume.existingClaim": {"persistentvolumeclaims/shared": []},
    },
    "loop": {
        "lm.existingSecret": OPENAI,
        "loop.judge.existingSecret": {"secrets/judge": ["api-key"]},
        "gate.existingConfigMap": EXAMPLES,
    },
    "tryout": {"program.existingConfigMap": {"configmaps/my-program": ["mine.py"]}},
}
"""What has to be there, by the value that names it."""
EMBEDDING = ("--set", "retrieval.embedding.existingSecret=embedder")
ON_CLAIM = ("--set", "volume.mode=claim,volume.existingClaim=")
CLAIM = {f"persistentvolumeclaims/{NAME}-data": []}


@pytest.fixture(scope="module")
def helm3() -> Helm:
    return Helm("helm3")


def together(scenario: str) -> Held:
    return {path: keys for held in SCENARIOS.get(scenario, {"": OPENAI}).values() for path, keys in held.items()}


def rendered(helm: Helm, held: Held, scenario: str = "default", *arguments: str) -> str:
    """A scenario, rendered with what a cluster says."""
    with answering(held) as url:
        return helm.render(scenario, "--dry-run=server", "--kube-apiserver", url, *arguments)


def refused(helm: Helm, held: Held, scenario: str = "default", *arguments: str) -> str:
    """The sentence that a guard says."""
    with pytest.raises(Refused) as caught:
        rendered(helm, held, scenario, *arguments)
    [sentence] = re.findall(r"^Error: execution error at \(\S+\): (.+)$", str(caught.value), re.MULTILINE)
    return str(sentence)


def test_a_missing_secret_is_named_with_the_command_that_makes_it(helm: Helm) -> None:
    assert refused(helm, {}) == (
        "lm.existingSecret is openai, which is no Secret of the namespace search: make it with `kubectl create "
        "secret generic openai --namespace search --from-file=api-key=FILE`, or set requireExisting=false where it is "
        "made later"
    )


def test_a_missing_key_is_named_and_what_is_there_instead(helm: Helm) -> None:
    assert refused(helm, {"secrets/openai": ["key", "url"]}) == (
        "lm.existingSecret is openai, a Secret without the key api-key: add that key to it, or name another by "
        "lm.secretKey (it has: key, url)"
    )
    assert refused(helm, {"secrets/openai": []}).endswith("(it has: none)")


def test_a_missing_configmap_or_claim_is_named(helm: Helm) -> None:
    there = together("external")
    without = {path: keys for path, keys in there.items() if path != "configmaps/rag-v7"}
    assert refused(helm, without, "external") == (
        "artifacts.v7.existingConfigMap is rag-v7, which is no ConfigMap of the namespace search: make it, or set "
        "requireExisting=false where it is made later"
    )
    assert refused(helm, {**there, "configmaps/rag-v7": ["rag.json"]}, "external").startswith(
        "artifacts.v7.existingConfigMap is rag-v7, a ConfigMap without the key rag-20261121T1312Z"
    )
    without = {path: keys for path, keys in there.items() if path != "persistentvolumeclaims/shared"}
    assert refused(helm, without, "external").startswith(
        "volume.existingClaim is shared, which is no PersistentVolumeClaim of the namespace search: make it, or"
    )


def test_a_key_may_have_another_name(helm3: Helm) -> None:
    rendered(helm3, {"secrets/openai": ["key"]}, "default", "--set", "lm.secretKey=key")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_thing_that_pods_wait_for_must_be_there_and_nothing_else(helm3: Helm, scenario: str) -> None:
    there = together(scenario)
    rendered(helm3, there, scenario)
    for value, held in SCENARIOS[scenario].items():
        sentence = refused(helm3, {path: keys for path, keys in there.items() if path not in held}, scenario)
        [path] = held
        assert sentence.startswith(f"{value} is {path.partition('/')[2]}, which is no ")


def test_the_embedder_s_secret_must_be_there_where_it_is_used(helm3: Helm) -> None:
    sentence = refused(helm3, together("external"), "external", *EMBEDDING)
    assert sentence.startswith("retrieval.embedding.existingSecret is embedder, which is no Secret of")
    rendered(helm3, {**together("external"), "secrets/embedder": ["api-key"]}, "external", *EMBEDDING)
    rendered(helm3, OPENAI, "default", "--set", "retrieval.mode=none", *EMBEDDING)


def test_it_may_be_made_later_where_that_is_said(helm3: Helm) -> None:
    for scenario in ("default", "external"):
        assert rendered(helm3, {}, scenario, "--set", "requireExisting=false") == helm3.render(scenario)


def test_no_cluster_is_asked_by_a_render_alone(helm: Helm) -> None:
    with answering({}) as url:
        assert helm.render("default", "--kube-apiserver", url) == helm.render("default")


def test_every_secret_that_a_value_names_is_looked_up() -> None:
    template = (CHART / "templates/_existing.tpl").read_text(encoding="utf-8")
    looked_up = set(re.findall(r'^(\S+): \{\{ pick \S+ "existingSecret"', template, re.MULTILINE))
    values = (CHART / "VALUES.md").read_text(encoding="utf-8")
    assert looked_up == set(re.findall(r"^\| `(\S+)\.existingSecret` ", values, re.MULTILINE))


# ---- a claim that the release makes


def test_an_artifact_cannot_be_on_a_claim_that_the_same_upgrade_makes(helm: Helm) -> None:
    assert refused(helm, OPENAI, "volume", *ON_CLAIM, "--is-upgrade") == (
        "variants.stable.artifact is big, a file on a volume that is not there yet, for this upgrade makes the claim "
        "answers-slipway-data: upgrade to volume.mode=claim alone, put the file there, and name the artifact in the "
        "next upgrade"
    )


@pytest.mark.parametrize("arguments", [("--is-upgrade",), ()], ids=["upgrade", "installation"])
def test_the_hook_reads_a_claim_that_is_there(helm3: Helm, arguments: tuple[str, ...]) -> None:
    """One that an uninstalled release left, too."""
    assert ("Job", f"{NAME}-verify") in parsed(rendered(helm3, OPENAI | CLAIM, "volume", *ON_CLAIM, *arguments))


def test_the_hook_waits_for_no_claim_that_is_not_there(helm3: Helm) -> None:
    later = ("--set", "requireExisting=false", "--is-upgrade")
    for arguments in ((), later):
        assert ("Job", f"{NAME}-verify") not in parsed(rendered(helm3, OPENAI, "volume", *ON_CLAIM, *arguments))


def test_nothing_is_evaluated_on_a_claim_that_is_not_there(helm: Helm) -> None:
    gate = ("--set", "gate.existingConfigMap=", "--is-upgrade")
    held = {path: keys for path, keys in together("loop").items() if path not in EXAMPLES}
    assert refused(helm, held, "loop", *gate).startswith("gate.floor evaluates with what is on the volume, whose claim")


def test_what_is_on_a_claim_that_is_there_is_evaluated(helm3: Helm) -> None:
    held = {path: keys for path, keys in together("loop").items() if path not in EXAMPLES}
    rendered(helm3, held | CLAIM, "loop", "--set", "gate.existingConfigMap=")
