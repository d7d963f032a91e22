# SPDX-License-Identifier: Apache-2.0
"""`slipway ingest` as a user runs it: summaries, one-line errors, and a run that is killed."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from slipway_server.cli import main
from slipway_server.config import load_settings
from slipway_server.errors import EmbedderRateLimited, EmbedderUnavailable, ProviderAuth, SlipwayError
from slipway_server.retrieval import open_retriever
from slipway_server.retrieval.corpus import read
from slipway_server.retrieval.ingest import run

TEXT = (
    "A passage about number {} that is long enough to be kept, because it goes on for more than a hundred characters."
)
Slipway = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "docs.jsonl"
    records = [{"id": n, "title": f"Title {n}", "text": TEXT.format(n)} for n in range(250)]
    records.append({"id": "short", "title": "Short", "text": "Too short."})
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return file


@pytest.fixture
def slipway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Slipway:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SLIPWAY_SCRATCH_DIR", str(tmp_path / "scratch"))

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slipway", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def test_an_ingest_says_what_it_did(slipway: Slipway, corpus: Path) -> None:
    code, out, err = slipway("ingest", "--corpus", corpus, "--collection", "numbers")
    assert code == 0
    assert "250 passages of 251 documents, offline/" in out
    assert "1 chunks too short and dropped (1 whole documents)" in out
    assert "250/250" in err
    assert "/s, left" in err
    code, out, _ = slipway("ingest", "--corpus", corpus, "--collection", "numbers", "--json")
    summary = json.loads(out)
    assert (code, summary["changed"], summary["passages"], summary["dropped"]) == (0, False, 250, 1)
    assert summary["version"].startswith("numbers-")
    code, out, _ = slipway("ingest", "--corpus", corpus, "--collection", "numbers")
    assert "is up to date: 250 passages" in out


def test_the_minimum_length_can_be_chosen(slipway: Slipway, corpus: Path) -> None:
    _, out, _ = slipway("ingest", "--corpus", corpus, "--min-chars", "0", "--json")
    assert json.loads(out)["passages"] == 251


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no documents"),
        ("\n \n", "has no documents"),
        ('{"text": "fine"}\nnot json\n', "line 2: not JSON"),
        ('{"title": "only"}\n', "no text in the field 'text'"),
        ('{"text": "short"}\n', "No passage is left of 1 documents"),
    ],
)
def test_a_bad_corpus_is_one_line_and_exit_code_2(slipway: Slipway, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    code, out, err = slipway("ingest", "--corpus", tmp_path / "bad.jsonl", "--json")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest"], "either --corpus or --from-server"),
        (["ingest", "--corpus", "x", "--from-server"], "either --corpus or --from-server"),
        (["ingest", "--corpus", "nowhere.jsonl", "--json"], "no file or folder at nowhere.jsonl"),
        (["ingest", "--corpus", "a/b", "--split", "train", "--json"], "pip install datasets"),
        (["ingest", "--from-server"], "SLIPWAY_QDRANT_URL is not set"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    slipway: Slipway, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, _, err = slipway(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


class Endpoint:
    """An embedding endpoint that counts its texts; from `hang_at` requests on it never answers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.requests = 0
        self.hang_at: int | None = None
        self.status = 200
        self.hanging = asyncio.Event()
        self.url = ""

    async def answer(self, asked: web.Request) -> web.Response:
        self.requests += 1
        if self.requests == self.hang_at:
            self.hanging.set()
            await asyncio.Event().wait()
        if self.status != 200:
            return web.json_response({}, status=self.status, headers={"retry-after": "0"})
        texts = (await asked.json())["input"]
        self.texts += texts
        rows = [{"index": i, "embedding": [len(text) + 1.0, i + 1.0, 1.0, 1.0]} for i, text in enumerate(texts)]
        return web.json_response({"data": rows})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/embeddings", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


async def test_a_killed_ingest_goes_on_where_it_stopped(endpoint: Endpoint, corpus: Path, tmp_path: Path) -> None:
    endpoint.hang_at = 3
    values = {
        "data_dir": tmp_path / "data",
        "scratch_dir": tmp_path / "scratch",
        "embedding_model": "some-model",
        "embedding_base_url": endpoint.url,
        "embedding_dimension": 4,
    }
    environ = {**os.environ, **{f"SLIPWAY_{key.upper()}": str(value) for key, value in values.items()}}
    program = [sys.executable, "-c", "from slipway_server.cli import main; main()"]
    killed = await asyncio.create_subprocess_exec(*program, "ingest", "--corpus", str(corpus), "--json", env=environ)
    await asyncio.wait_for(endpoint.hanging.wait(), 60)
    killed.kill()
    await killed.wait()
    assert len(endpoint.texts) == 200
    settings = load_settings(values, environ={})
    summary = await run(settings, read(corpus))
    assert summary.passages == 250
    assert len(endpoint.texts) == 250, "no text is paid for twice"
    assert not (tmp_path / "data" / "staging" / "docs").exists()
    retriever = await open_retriever(settings)
    assert retriever.embedder_name == "some-model"
    assert len((await retriever.search(["number 7"], 3))[0]) == 3
    await retriever.aclose()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, ProviderAuth), (429, EmbedderRateLimited), (503, EmbedderUnavailable)]
)
async def test_an_embedder_that_fails_leaves_the_collection_as_it_was(
    endpoint: Endpoint, corpus: Path, tmp_path: Path, status: int, kind: type[SlipwayError]
) -> None:
    values = {"data_dir": tmp_path / "data", "embedding_model": "some-model", "embedding_base_url": endpoint.url}
    settings = load_settings(values | {"embedding_dimension": 4}, environ={})
    first = await run(settings, itertools.islice(read(corpus), 100))
    endpoint.status = status
    with pytest.raises(kind):
        await run(settings, read(corpus))
    endpoint.status = 200
    retriever = await open_retriever(settings)
    assert retriever.collection_version == first.version
    endpoint.status = status
    with pytest.raises(kind):
        await retriever.search(["a question"], 3)
    await retriever.aclose()
