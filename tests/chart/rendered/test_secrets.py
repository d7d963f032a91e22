# SPDX-License-Identifier: Apache-2.0
"""Where a cluster answers, the Secrets that pods read must be in it: else nothing is sent, and the remedy is said.

What passes is rendered with Helm 3: Helm 4 would go on to ask for schemas of every kind; tests/cluster has those.
"""

from __future__ import annotations

import re

import pytest
from charts import CHART, Helm, Refused
from kube_api import Held, answering

SECRETS = {
    "default": {"lm.existingSecret": "openai"},
    "external": {"retrieval.qdrant.existingSecret": "qdrant"},
    "loop": {"lm.existingSecret": "openai", "loop.judge.existingSecret": "judge"},
    "tryout": {},
}
EMBEDDING = ("--set", "retrieval.embedding.existingSecret=embedder")
WHOLE: Held = {f"secrets/{name}": ["api-key"] for name in ("openai", "qdrant", "judge", "embedder")}


@pytest.fixture(scope="module")
def helm3() -> Helm:
    return Helm("helm3")


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
        "secret generic openai --namespace search --from-file=api-key=FILE`, or set requireSecrets=false where it is "
        "made later"
    )


def test_a_missing_key_is_named_and_what_is_there_instead(helm: Helm) -> None:
    assert refused(helm, {"secrets/openai": ["key", "url"]}) == (
        "lm.existingSecret is openai, a Secret without the key api-key: add that key to it, or name another by "
        "lm.secretKey (it has: key, url)"
    )
    assert refused(helm, {"secrets/openai": []}).endswith("(it has: none)")


def test_a_key_may_have_another_name(helm3: Helm) -> None:
    rendered(helm3, {"secrets/openai": ["key"]}, "default", "--set", "lm.secretKey=key")


@pytest.mark.parametrize("scenario", SECRETS)
def test_each_secret_that_pods_read_must_be_there_and_no_other(helm3: Helm, scenario: str) -> None:
    wanted = SECRETS[scenario]
    there = {f"secrets/{name}": ["api-key"] for name in wanted.values()}
    rendered(helm3, there, scenario)
    for value, name in wanted.items():
        others = {path: keys for path, keys in there.items() if path != f"secrets/{name}"}
        assert refused(helm3, others, scenario).startswith(f"{value} is {name}, which is no Secret of")


def test_the_embedder_s_secret_must_be_there_where_it_is_used(helm3: Helm) -> None:
    sentence = refused(helm3, {path: WHOLE[path] for path in WHOLE if "embedder" not in path}, "external", *EMBEDDING)
    assert sentence.startswith("retrieval.embedding.existingSecret is embedder, which is no Secret of")
    rendered(helm3, WHOLE, "external", *EMBEDDING)
    rendered(helm3, {"secrets/openai": ["api-key"]}, "default", "--set", "retrieval.mode=none", *EMBEDDING)


def test_secrets_may_be_made_later_where_that_is_said(helm3: Helm) -> None:
    assert rendered(helm3, {}, "default", "--set", "requireSecrets=false") == helm3.render("default")


def test_no_cluster_is_asked_by_a_render_alone(helm: Helm) -> None:
    with answering({}) as url:
        assert helm.render("default", "--kube-apiserver", url) == helm.render("default")


def test_every_secret_that_a_template_reads_is_looked_up() -> None:
    templates = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*")}
    looked_up = set(re.findall(r"^(\S+)\.existingSecret: ", templates["_secrets.tpl"], re.MULTILINE))
    values = (CHART / "VALUES.md").read_text(encoding="utf-8")
    assert looked_up == set(re.findall(r"^\| `(\S+)\.existingSecret` ", values, re.MULTILINE))
