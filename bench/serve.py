# SPDX-License-Identifier: Apache-2.0
"""A whole server under load: throughput, latency, CPU per request, memory. Every part is a process of its own.

    python bench/serve.py                          # all phases, about five minutes
    python bench/serve.py --phases throughput,bare --seconds 10

A compiled RAG program (four demos, three passages, embedded retrieval) behind gRPC, a simulated provider that answers
after 0.3 s, and 50 callers that each ask as soon as they have their answer: at most 167 answers a second. Questions are
new, so that every answer is a cache miss. Answers are counted while all callers are at work: from when each has had its
first one (they begin in one heap) until the first of them finds no question left. Phases:

- throughput: answers a second, latencies and the server's CPU time per answer, through `Ask` and `Predict`, and once
  more with the cache off; before them, the same callers with a plain HTTP client straight at the provider;
- bare: CPU time of a plain `await program.acall()` of the same artifact on the same passages, without a server: with
  DSPy's own client against the same provider, without and with DSPy's own cache on a local disk, and with an engine
  that answers at once and costs nothing;
- warm: the same hundred questions again, with SLIPWAY_CACHE_ANSWERS=1, in turn with an echo on bare grpc.aio
  (bench/echo.py): the floor, measured while the machine was as busy;
- memory: 20,000 answers from a faster provider; the server's resident memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

DEMO = Path(__file__).parents[1] / "server" / "src" / "slipway_server" / "demo"
SLIPWAY = str(Path(sys.executable).with_name("slipway"))
ANSWER = "[[ ## reasoning ## ]]\nThe passage says so.\n\n[[ ## answer ## ]]\nPort Callow\n\n[[ ## completed ## ]]"
COLLECTION = "bench"
PHASES = ("throughput", "bare", "warm", "memory")
WARM_UP = 300
WARM_ROUNDS = 5


@dataclass(frozen=True)
class Running:
    """A child process with what it announced in its first line."""

    process: psutil.Process
    facts: dict[str, Any]

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(self.process.memory_info().rss)


@contextmanager
def running(*command: str, environ: dict[str, str]) -> Iterator[Running]:
    """Start `command`, which prints one JSON line when it is ready; SIGTERM at the end of the block."""
    child = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(command[:2])} ended before it was ready")
        yield Running(psutil.Process(child.pid), json.loads(line))
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(120)


@dataclass(frozen=True)
class Bench:
    """Folder with the collection and the artifact, and what every process is told about them."""

    folder: Path
    callers: int
    seconds: float
    latency_seconds: float
    memory_requests: int

    @property
    def requests(self) -> int:
        """As many as the callers can make in the time."""
        return round(self.seconds * self.callers / self.latency_seconds)

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {
            "SLIPWAY_DATA_DIR": str(self.folder / "data"),
            "DSPY_CACHEDIR": str(self.folder / "cache"),
            "SLIPWAY_COLLECTION": COLLECTION,
            "SLIPWAY_LOG_LEVEL": "warning",
            "SLIPWAY_DRAIN_SECONDS": "0",
        }

    def prepare(self) -> None:
        """The collection, and an artifact with four demos."""
        compiled = ("--optimizer", "labeled-few-shot", "--set", "k=4", "--out", str(self.folder / "store"), "--promote")
        examples = ("--train", str(DEMO / "train.jsonl"), "--dev", str(DEMO / "dev.jsonl"))
        for command in (
            (SLIPWAY, "ingest", "--corpus", str(DEMO / "corpus.jsonl"), "--collection", COLLECTION, "--json"),
            (SLIPWAY, "compile", *examples, *compiled, "--json"),
        ):
            subprocess.run(command, env=self.environ, check=True, stdout=subprocess.DEVNULL)

    def provider(self, latency_seconds: float) -> Any:
        command = (SLIPWAY, "simulate-provider", "--port", "0", "--latency", str(latency_seconds), "--json")
        return running(*command, "--text", ANSWER, environ=self.environ)

    def server(self, provider: Running, **settings: str) -> Any:
        environ = self.environ | provider.facts["settings"] | settings
        ports = ("--port", "0", "--metrics-port", "0")
        return running(SLIPWAY, "serve", "--artifact", str(self.folder / "store"), *ports, "--json", environ=environ)

    def echo(self) -> Any:
        return running(sys.executable, str(Path(__file__).with_name("echo.py")), environ=self.environ)

    def load(self, server: Running, requests: int, *, method: str = "ask", questions: int = 0) -> dict[str, Any]:
        """Run the load generator; `questions` 0 makes every question a new one."""
        shape = {"target": server.facts["target"], "callers": self.callers, "requests": requests}
        return self.child("load", shape | {"method": method, "questions": questions})

    def child(self, role: str, arguments: dict[str, Any], **environ: str) -> dict[str, Any]:
        """Run `load` or `http` of serve_load.py, or a role of this file, in a process of its own."""
        file = __file__ if role == "bare-dspy" else str(Path(__file__).with_name("serve_load.py"))
        command = (sys.executable, file, f"--{role}", json.dumps(arguments))
        done = subprocess.run(command, env=self.environ | environ, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


# ---- phases


def throughput(bench: Bench) -> dict[str, Any]:
    rows: dict[str, Any] = {"ceiling_per_second": bench.callers / bench.latency_seconds}
    with bench.provider(bench.latency_seconds) as provider:
        settings, shape = provider.facts["settings"], {"callers": bench.callers, "requests": bench.requests}
        target = shape | {"base_url": settings["SLIPWAY_LM_BASE_URL"], "warm_up": WARM_UP}
        rows["provider alone"] = bench.child("http", target)
        for name, method, cache in (
            ("ask", "ask", "on"),
            ("predict", "predict", "on"),
            ("ask, no cache", "ask", "off"),
        ):
            with bench.server(provider, SLIPWAY_CACHE=cache) as server:
                rows[name] = measured(bench, server, bench.requests, method=method)
                rows["ready_seconds"] = server.facts["ready_seconds"]
    return rows


def measured(bench: Bench, server: Running, requests: int, **load: Any) -> dict[str, Any]:
    """A load after a warm-up, with the server's CPU time for it."""
    bench.load(server, WARM_UP, **load)
    before = server.cpu_seconds()
    row = bench.load(server, requests, **load)
    return row | {"server_cpu_ms": (server.cpu_seconds() - before) / requests * 1000}


def bare(bench: Bench) -> dict[str, Any]:
    shape = {"store": str(bench.folder / "store"), "callers": bench.callers, "requests": bench.requests}
    with bench.provider(bench.latency_seconds) as provider:
        over_http = bench.child("bare-dspy", shape | {"engine": "own"}, **provider.facts["settings"])
        cached = shape | {"engine": "own, cached"}
        settings = provider.facts["settings"] | {"DSPY_CACHEDIR": str(bench.folder / "dspy-cache")}
        with_cache = bench.child("bare-dspy", cached, **settings)
    return {
        "http": over_http,
        "http, cache": with_cache,
        "instant": bench.child("bare-dspy", shape | {"engine": "instant"}),
    }


def warm(bench: Bench) -> dict[str, Any]:
    """By method, the rounds of both servers in turn: other work on the machine then meets both."""
    rows: dict[str, Any] = {}
    with (
        bench.provider(0.0) as provider,
        bench.server(provider, SLIPWAY_CACHE_ANSWERS="1") as server,
        bench.echo() as echo,
    ):
        for method in ("ask", "predict"):
            rounds: dict[str, list[dict[str, Any]]] = {"echo": [], "slipway": []}
            for _ in range(WARM_ROUNDS):
                rounds["echo"].append(measured(bench, echo, 5_000, method=method, questions=100))
                rounds["slipway"].append(measured(bench, server, 5_000, method=method, questions=100))
            rows[method] = rounds
    return rows


def memory(bench: Bench) -> dict[str, Any]:
    """Resident memory after each tenth, once the cache's memory tier, made small for this, is full."""
    tenth, seen = bench.memory_requests // 10, []
    with bench.provider(0.02) as provider, bench.server(provider, SLIPWAY_CACHE_MEMORY_BYTES="4194304") as server:
        errors: Counter[str] = Counter()
        bench.load(server, tenth)
        for _ in range(10):
            errors.update(bench.load(server, tenth)["errors"])
            seen.append(server.rss_bytes() / 2**20)
    return {"rss_mib": seen, "growth": seen[-1] / seen[0] - 1, "errors": dict(errors)}


# ---- DSPy without a server


async def bare_dspy(store: str, callers: int, requests: int, engine: str) -> dict[str, Any]:
    import dspy

    from slipway_server.artifacts import load as load_artifact
    from slipway_server.artifacts import resolve
    from slipway_server.config import load_settings
    from slipway_server.programs.rag import RAG
    from slipway_server.retrieval import binding, open_retriever

    settings = load_settings()
    binding.bind(await open_retriever(settings), k=settings.retrieval_k)
    program = load_artifact(resolve(Path(store)), RAG).program
    if engine == "instant":
        lm = dspy.LM("bench/instant", engine=Instant(), async_engine=AsyncInstant(), cache=False)
    else:
        key = settings.lm_api_key.get_secret_value() if settings.lm_api_key else "none"
        lm = dspy.LM(settings.lm_model, api_base=settings.lm_base_url, api_key=key, cache="cached" in engine)
    run, numbers = os.urandom(4).hex(), itertools.count()

    async def caller(limit: int) -> None:
        while (number := next(numbers)) < limit:
            await program.acall(question=f"Which port is {run}-{number}?")

    with dspy.context(lm=lm, disable_history=True):
        await asyncio.gather(*(caller(WARM_UP) for _ in range(callers)))
        numbers = itertools.count()
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller(requests) for _ in range(callers)))
    elapsed = time.perf_counter() - started
    return {"per_second": requests / elapsed, "cpu_ms": (time.process_time() - cpu) / requests * 1000}


class Instant:
    """DSPy's engine contract; always the same answer, made once."""

    supported_params = frozenset({"temperature", "max_tokens"})
    supports_function_calling = supports_reasoning = supports_response_schema = False

    def __init__(self) -> None:
        from dspy import lm15

        message = lm15.Message.assistant(ANSWER)
        self._answer = lm15.Response("bench", "instant", message, "stop", lm15.Usage(input_tokens=1, output_tokens=1))

    def complete(self, request: Any) -> Any:
        return self._answer


class AsyncInstant(Instant):
    """The same for `acall`."""

    async def complete(self, request: Any) -> Any:
        return self._answer


# ---- the report


def report(found: dict[str, Any]) -> Iterator[str]:
    if "throughput" in found:
        rows = dict(found["throughput"])
        yield f"start to ready {rows.pop('ready_seconds'):.2f} s; ceiling {rows.pop('ceiling_per_second'):.0f}/s"
        alone = rows.pop("provider alone")
        shown = f"{alone['per_second']:6.1f}/s   p50 {alone['p50_ms']:.1f} ms   p99 {alone['p99_ms']:.0f} ms"
        yield f"provider alone {shown}"
        for name, row in rows.items():
            yield (
                f"{name:14} {row['per_second']:6.1f}/s   p50 {row['p50_ms']:.1f} ms   p99 {row['p99_ms']:.0f} ms   "
                f"server CPU {row['server_cpu_ms']:.2f} ms   errors {row['errors'] or 0}"
            )
    for engine, row in found.get("bare", {}).items():
        yield f"bare, {engine:12} {row['per_second']:6.1f}/s   CPU {row['cpu_ms']:.2f} ms"
    for method, rounds in found.get("warm", {}).items():
        floor = statistics.median(row["server_cpu_ms"] for row in rounds["echo"])
        for name, rows in rounds.items():
            cpu_ms = sorted(row["server_cpu_ms"] for row in rows)
            median = statistics.median(cpu_ms)
            errors = sum((Counter(row["errors"]) for row in rows), Counter())
            yield (
                f"warm {method:8} {name:8} server CPU {median:.3f} ms ({cpu_ms[0]:.3f} to {cpu_ms[-1]:.3f}): "
                f"{1000 / median:.0f}/s a core, {median / floor:.2f} echoes   errors {dict(errors) or 0}"
            )
    if "memory" in found:
        row = found["memory"]
        steps = " ".join(f"{value:.0f}" for value in row["rss_mib"])
        yield f"memory {steps} MiB: {row['growth']:+.1%} from the first tenth to the last   errors {row['errors'] or 0}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", default=",".join(PHASES), help="comma-separated")
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a measurement")
    parser.add_argument("--latency", type=float, default=0.3, help="the provider's, in seconds")
    parser.add_argument("--memory-requests", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare-dspy", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare_dspy:
        print(json.dumps(asyncio.run(bare_dspy(**json.loads(arguments.bare_dspy)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.callers, arguments.seconds, arguments.latency, arguments.memory_requests)
        bench.prepare()
        phases = {"throughput": throughput, "bare": bare, "warm": warm, "memory": memory}
        found = {name: phases[name](bench) for name in arguments.phases.split(",")}
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(report(found)))


if __name__ == "__main__":
    main()
