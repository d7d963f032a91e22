# SPDX-License-Identifier: Apache-2.0
"""HotPotQA (Yang et al. 2018): 994 passages, 30 questions to compile with, 30 to compare on; skipped where absent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from compiling import compiled, slipway

from slipway_server.config import load_settings
from slipway_server.evaluation import read_dataset
from slipway_server.retrieval.corpus import read
from slipway_server.retrieval.ingest import run

DATA = Path(__file__).parents[3].parent / "shared/data/hotpotqa"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the HotPotQA sample is not beside the checkout")


def test_ingest_compile_compare_restart(tmp_path: Path) -> None:
    """The baseline is the program with DSPy's default prompt, nothing withheld; the same score after a restart."""
    settings = load_settings(
        {
            "program": "programs:TutorialRAG",
            "collection": "hotpot",
            "data_dir": tmp_path / "data",
            "cache_dir": tmp_path / "cache",
            "scratch_dir": tmp_path,
        },
        environ={},
    )
    summary = asyncio.run(run(settings, read(DATA / "corpus.jsonl")))
    assert summary.documents == 994
    train, dev = (
        read_dataset(DATA / f"{name}.jsonl", inputs=["question"], outputs=["answer"]) for name in ("train", "dev")
    )
    outcome = compiled(settings, tmp_path, train=train, dev=dev, optimizer="labeled-few-shot", settings={"k": 8})
    assert outcome.comparison.n == 30
    assert outcome.comparison.difference == pytest.approx(outcome.compiled.score - outcome.uncompiled.score)
    assert outcome.comparison.interval.low > 0
    words = ("evaluate", "--program", "programs:TutorialRAG", "--artifact", str(outcome.path), "--metric", "token-f1")
    done = slipway(*words, "--dev", str(DATA / "dev.jsonl"), "--json", settings=settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = orjson.loads(done.stdout)
    assert again["score"] == outcome.compiled.score
    assert again["interval"] == list(outcome.compiled.interval)
