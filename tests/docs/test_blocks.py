# SPDX-License-Identifier: Apache-2.0
"""What README.md and docs/ tell a reader to type works."""

from __future__ import annotations

import re
import shlex

import pytest
from command_words import unknown_words
from doc_pages import MODEL_SERVERS, ROOT, Block, Page, blocks, documents

RUNNABLE = {"bash", "python", "ini"}
VERBS = {"run", "serve", "config", "quote", "cluster", "skip,"}

SAID = {
    "README.md": (
        r"Questions are answered by openai/unsloth/gemma-3-4b-it-GGUF:Q4_K_M",
        r"79 passages of 79 documents, qwen3-embedding:0.6b, 1024 dimensions",
        r"(?m)^ +answer +14 January 1897",
        r"model openai/unsloth/gemma-3-4b-it-GGUF:Q4_K_M\b",
    ),
    "docs/artifacts.md": (
        r"is signed by the configured key",
        r"bootstrapped 0 traces: metric 'exact-match' passed none of 42 answers",
        r"generate_answer\.predict\n  \+ labelled: ",
        r"(?m)^PASS: 0\.\d+ \(",
        r"100\.0 % of 42 questions become cold",
        r"(?m)^ artifact +guide-\S+ \(\w{12}\), *\n? +candidate",
        r"where the time went",
        r"written: moved/guide-",
    ),
    "docs/providers.md": (
        r"79 passages of 79 documents, qwen3-embedding:0.6b, 1024 dimensions",
        r"current: artifacts-local/rag-",
    ),
    "docs/quickstart.md": (r"difference \+0\.\d", r"(?m)^Linnea Strand$", r"(?m)^1794$", r"(?m)^guide-\S+$"),
}
"""What the blocks of a page must have printed."""


def marked(document: str) -> list[Block]:
    return [block for block in blocks(document) if block.mark]


@pytest.mark.parametrize("document", [name for name in documents() if marked(name)])
def test_the_blocks_of_a_page_run_from_top_to_bottom(document: str, page: Page) -> None:
    found = marked(document)
    if any(server in block.text for block in found for server in MODEL_SERVERS if block.mark.startswith("config")):
        page.use_simulator()
    for block in found:
        page.do(block)
    for pattern in SAID.get(document, ()):
        assert re.search(pattern, page.output), f"{pattern} is not in\n{page.output}"


@pytest.mark.parametrize("document", [name for name in documents() if marked(name)])
def test_every_block_of_a_tested_page_is_marked(document: str) -> None:
    unmarked = [str(block) for block in blocks(document) if block.language in RUNNABLE and not block.mark]
    assert unmarked == []
    assert {block.mark.split(" ")[0] for block in marked(document)} <= VERBS


def test_a_module_of_the_cluster_s_tests_types_each_section_that_is_for_it() -> None:
    """That it types every command, in their order, it sees itself: see cluster_desk.Desk."""
    found = [block for name in documents() for block in marked(name) if block.mark.startswith("cluster ")]
    assert "docs/operations.md" in {block.page for block in found}
    for block in found:
        module = ROOT / f"tests/cluster/{block.mark.removeprefix('cluster ')}.py"
        assert f'"{block.heading}"' in module.read_text(encoding="utf-8"), f"{block}: not typed by {module.name}"


@pytest.mark.parametrize("document", documents())
def test_documented_commands_and_options_exist(document: str) -> None:
    for block in blocks(document):
        if block.language in ("bash", "console"):
            for words in slipway_calls(block.text):
                assert unknown_words(words) == [], f"{block}: slipway {shlex.join(words)}"


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def slipway_calls(text: str) -> list[list[str]]:
    """The words after `slipway` on each line that calls it."""
    lines = text.replace("\\\n", " ").splitlines()
    calls = [match[1] for line in lines if (match := re.match(r"(?:\$ )?(?:\w+=\S+ )*slipway (.+)", line))]
    return [shlex.split(call, comments=True) for call in calls]
