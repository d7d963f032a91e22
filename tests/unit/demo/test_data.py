# SPDX-License-Identifier: Apache-2.0
"""The demonstration's data keeps its promises: sizes, distinct entries, and answers that the passages contain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doc_pages import blocks

from slipway_server.demo import FOLDER
from slipway_server.demo.show import LOCAL_MODELS

SPLITS = ("train", "dev", "regression")


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_corpus_has_distinct_passages_of_moderate_length() -> None:
    corpus = read("corpus")
    assert len(corpus) >= 70
    assert all(set(passage) == {"id", "title", "text"} for passage in corpus)
    for field in ("id", "title", "text"):
        assert len({passage[field] for passage in corpus}) == len(corpus), f"two passages share a {field}"
    assert [passage["title"] for passage in corpus if not 250 <= len(passage["text"]) <= 900] == []


@pytest.mark.parametrize("split", SPLITS)
def test_split_is_large_enough_and_needs_two_passages_now_and_then(split: str) -> None:
    pairs = read(split)
    assert len(pairs) >= 30
    assert sum(len(pair["gold_titles"]) == 2 for pair in pairs) >= 5
    assert {"yes", "no"} & {pair["answer"] for pair in pairs}


@pytest.mark.parametrize("split", SPLITS)
def test_answers_occur_in_their_gold_passages(split: str) -> None:
    texts = {passage["title"]: f"{passage['title']} | {passage['text']}" for passage in read("corpus")}
    for pair in read(split):
        assert set(pair) == {"question", "answer", "gold_titles"}
        gold = " ".join(texts[title] for title in pair["gold_titles"])
        assert pair["answer"] in ("yes", "no") or pair["answer"] in gold, pair
        assert pair["question"].endswith("?")


def test_no_question_occurs_twice() -> None:
    questions = [pair["question"].casefold() for split in SPLITS for pair in read(split)]
    assert len(questions) >= 90
    assert len(set(questions)) == len(questions)


def test_the_demo_prints_the_configuration_of_the_readme() -> None:
    [readme] = [block for block in blocks("README.md") if block.mark == "config local.env"]
    printed = [line for line in LOCAL_MODELS.splitlines() if line.startswith("SLIPWAY_") and "make" not in line]
    assert sorted(printed) == sorted(readme.text.splitlines())
