# SPDX-License-Identifier: Apache-2.0
"""Recall and cost of the built-in embedders, searched as a pod searches them.

    python bench/retrieval.py --data FOLDER        # corpus.jsonl, train.jsonl, dev.jsonl with gold_titles
    python bench/retrieval.py --data FOLDER --tune # the grid behind the parameters, chosen on train
    python bench/retrieval.py --data FOLDER --passages 20000 # cost only: documents of its sentences, drawn by a seed

recall@k: the share of a question's gold titles among the titles of its first k passages, averaged over questions.
CPU: this process's, all threads, per query, over repeated single searches of one process (embedding included).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from slipway_server.config import load_settings
from slipway_server.retrieval import anchors, bm25, embedders, open_retriever
from slipway_server.retrieval.chunking import sentences
from slipway_server.retrieval.corpus import Document, read
from slipway_server.retrieval.encoding import Fusion
from slipway_server.retrieval.ingest import run
from slipway_server.retrieval.types import Retriever

ROWS = (
    ("offline/hashing", "offline/hashing", anchors.MAX_MENTIONS),
    ("offline/bm25", "offline/bm25", anchors.MAX_MENTIONS),
    ("offline/bm25 without anchors", "offline/bm25", 0),
    ("offline/fused", "offline/fused", anchors.MAX_MENTIONS),
)
"""Name, model, and how often a title may be mentioned to have anchors."""
DEPTHS = (3, 5, 10)
REPEATS = 20
GRID = ((1, 2, 4), ((0.9, 0.4), (1.2, 0.75), (1.6, 0.9)), (0.0, 0.5, 1.0), (0.2, 0.4, 0.7, 1.0))
"""Title weight, (k1, b), pair weight, anchor weight."""
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
"""Of the dense score beside BM25's."""
Questions = list[tuple[str, set[str]]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hotpotqa"), help="folder of the three files")
    parser.add_argument("--tune", action="store_true", help="search for parameters, on train")
    parser.add_argument("--passages", type=int, help="cost at this size, with documents made of the corpus's sentences")
    options = parser.parse_args()
    if not (options.data / "corpus.jsonl").is_file():
        print(f"skipped: no corpus.jsonl in {options.data}; name its folder with --data")
        return
    if options.passages:
        asyncio.run(_costs(options.data, options.passages))
    else:
        asyncio.run((_tune if options.tune else _compare)(options.data))


async def _compare(data: Path) -> None:
    questions = {part: _questions(data / f"{part}.jsonl") for part in ("train", "dev")}
    table = Table(
        "embedder",
        "train R@5",
        "dev R@5",
        "both R@3",
        "both R@5",
        "both R@10",
        "CPU ms",
        "wall ms",
        "ingest s, CPU",
        "open ms, CPU",
        "archive MB",
        box=None,
    )
    for name, model, mentions in ROWS:
        with tempfile.TemporaryDirectory() as folder, _set(anchors, MAX_MENTIONS=mentions):
            retriever, ingest_s, open_ms, megabytes = await _opened(
                Path(folder), model, list(read(data / "corpus.jsonl"))
            )
            recall = {part: await _recall(retriever, asked) for part, asked in questions.items()}
            both = await _recall(retriever, questions["train"] + questions["dev"])
            cpu_ms, wall_ms = await _cost(retriever, questions["dev"])
            await retriever.aclose()
        table.add_row(
            name,
            *(f"{recall[part][5]:.3f}" for part in ("train", "dev")),
            *(f"{both[depth]:.3f}" for depth in DEPTHS),
            f"{cpu_ms:.3f}", f"{wall_ms:.3f}", f"{ingest_s:.1f}", f"{open_ms:.0f}", f"{megabytes:.1f}",
        )  # fmt: skip
    Console(width=140).print(table)


async def _costs(data: Path, passages: int) -> None:
    questions = _questions(data / "dev.jsonl")
    table = Table("embedder", "passages", "CPU ms", "wall ms", "ingest s, CPU", "open ms, CPU", "archive MB", box=None)
    for model in ("offline/hashing", "offline/bm25", "offline/fused"):
        with tempfile.TemporaryDirectory() as folder:
            made = _made(list(read(data / "corpus.jsonl")), passages)
            retriever, ingest_s, open_ms, megabytes = await _opened(Path(folder), model, made)
            cpu_ms, wall_ms = await _cost(retriever, questions)
            await retriever.aclose()
        table.add_row(
            model, f"{passages:,}", f"{cpu_ms:.3f}", f"{wall_ms:.3f}",
            f"{ingest_s:.1f}", f"{open_ms:.0f}", f"{megabytes:.1f}",
        )  # fmt: skip
    Console(width=140).print(table)


def _made(documents: list[Document], count: int) -> list[Document]:
    """As many documents, as long as the given ones, of their sentences in other company."""
    drawn = random.Random(1)
    pool = [sentence for document in documents for sentence in sentences(document.text)]
    lengths = [max(3, len(list(sentences(document.text)))) for document in documents if len(document.text) < 1000]
    return [
        Document(str(number), f"{drawn.choice(documents).title} {number}", " ".join(drawn.choices(pool, k=length)))
        for number, length in enumerate(drawn.choices(lengths, k=count))
    ]


async def _tune(data: Path) -> None:
    """The grid's best points on train, by the mean of recall@3, @5 and @10; dev's recall@5 is shown beside them."""
    train, dev = (_questions(data / f"{name}.jsonl") for name in ("train", "dev"))
    documents = list(read(data / "corpus.jsonl"))
    found = []
    for title, (saturation, length), pair, anchor in itertools.product(*GRID):
        values = {"TITLE_WEIGHT": title, "SATURATION": saturation, "LENGTH_NORM": length, "PAIR_WEIGHT": pair}
        with _set(bm25, ANCHOR_WEIGHT=anchor, **values):
            point = (title, saturation, length, pair, anchor)
            found.append((*await _scores("offline/bm25", documents, train, dev), point))
    _best("title weight, k1, b, pair weight, anchor weight", found)
    found = []
    for weight, depth in itertools.product(WEIGHTS, (20, 50, 100)):
        with _set(embedders, FUSION=Fusion(weight, depth)):
            found.append((*await _scores("offline/fused", documents, train, dev), (weight, depth)))
    _best("fused: weight of the dense score, depth", found, 3 * len(WEIGHTS))


def _best(title: str, found: list[tuple[float, float, float, tuple[float, ...]]], shown: int = 12) -> None:
    print(f"{title}: train mean, train R@5, dev R@5")
    for mean, train5, dev5, point in sorted(found, reverse=True)[:shown]:
        print(f"  {point}: {mean:.3f} {train5:.3f} {dev5:.3f}")


async def _scores(
    model: str, documents: list[Document], train: Questions, dev: Questions
) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        retriever, *_ = await _opened(Path(folder), model, documents)
        on_train, on_dev = await _recall(retriever, train), await _recall(retriever, dev)
        await retriever.aclose()
    return statistics.fmean(on_train.values()), on_train[5], on_dev[5]


async def _opened(folder: Path, model: str, documents: list[Document]) -> tuple[Retriever, float, float, float]:
    """The retriever, CPU seconds to ingest, CPU milliseconds to open and the archive's megabytes."""
    values = {"data_dir": folder, "scratch_dir": folder / "scratch", "embedding_model": model}
    settings = load_settings(values, environ={})
    started = time.process_time()
    await run(settings, documents)
    ingest_s = time.process_time() - started
    [archive] = (folder / "collections" / settings.collection).glob("*.tar.gz")
    started = time.process_time()
    retriever = await open_retriever(settings)
    return retriever, ingest_s, (time.process_time() - started) * 1000, archive.stat().st_size / 1e6


async def _recall(retriever: Retriever, asked: Questions) -> dict[int, float]:
    found = await retriever.search([question for question, _ in asked], max(DEPTHS))
    return {
        depth: statistics.fmean(
            len(gold & {passage.title for passage in passages[:depth]}) / len(gold)
            for passages, (_, gold) in zip(found, asked, strict=True)
        )
        for depth in DEPTHS
    }


async def _cost(retriever: Retriever, asked: Questions) -> tuple[float, float]:
    """CPU and wall milliseconds per search: the best of the repeats, for the machine is shared."""
    cpu_ms, wall_ms = [], []
    for _ in range(REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        for question, _ in asked:
            await retriever.search([question], 3)
        cpu_ms.append((time.process_time() - cpu) * 1000 / len(asked))
        wall_ms.append((time.perf_counter() - wall) * 1000 / len(asked))
    return min(cpu_ms), min(wall_ms)


def _questions(file: Path) -> Questions:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [(record["question"], set(record["gold_titles"])) for record in records]


@contextmanager
def _set(module: object, **values: object) -> Iterator[None]:
    """The module's constants with other values."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


if __name__ == "__main__":
    main()
