# SPDX-License-Identifier: Apache-2.0
"""A small world for the loop: a provider, a corpus that may change, a server that answers on simulated days.

with drifting_world.opened(folder) as world:
    world.serve(14, 80)                       # two weeks, 80 answers a day
    world.change_corpus(changed=True)
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import drifting
import orjson

from slipway_server.artifacts import Store
from slipway_server.config import Settings, load_settings
from slipway_server.errors import SlipwayError
from slipway_server.evaluation import metric_named
from slipway_server.improve.bundle import Bundle, pack
from slipway_server.improve.compile import Plan, compile_program
from slipway_server.improve.data import dataset_for
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import RequestContext
from slipway_server.retrieval.ingest import run as ingest
from slipway_server.runtime.service import open_service
from slipway_server.runtime.session import open_session
from slipway_server.runtime.types import Feedback
from slipway_server.simulate import Provider, SimulatorConfig
from slipway_server.traffic import FeedbackStore, Recorder, TrafficConfig

DAY = 86_400.0
START = 1_759_276_800.0
"""2025-10-01T00:00Z."""
TRAIN, HELDOUT, ASKED = drifting.PLACES[:20], drifting.PLACES[20:70], drifting.PLACES[70:]


@dataclass
class World:
    """One deployment. `day`: days since the artifact went live at `start`; `environment`: for other processes."""

    folder: Path
    provider: Provider
    owner: OwnerLoop
    start: float = START
    day: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    """Settings of the server only."""

    @property
    def settings(self) -> Settings:
        values = {
            "program": "drifting:Archive",
            "data_dir": self.folder / "data",
            "collection": "mills",
            "scratch_dir": self.folder,
            "cache_dir": self.folder / "cache",
            "traffic_dir": self.folder / "traffic",
            "traffic_sample": 1.0,
            "traffic_fields": "question,answer,context",
            "judge_metric": "drifting:judged",
            "lm_model": "openai/simulated",
            "lm_base_url": self.provider.base_url,
            "lm_api_key": "k",
            "lm_max_attempts": 2,
            "lm_attempt_timeout_seconds": 60,
            "lm_retry_after_cap_seconds": 0.05,
            "lm_queue_cap_seconds": 1,
            "allow_uncompiled": True,
            **self.overrides,
        }
        return load_settings(values, environ={})

    @property
    def environment(self) -> Mapping[str, str]:
        settings = self.settings
        return {
            key: str(value)
            for key, value in {
                "SLIPWAY_PROGRAM": settings.program,
                "SLIPWAY_ARTIFACT": self.store.folder,
                "SLIPWAY_DATA_DIR": settings.data_dir,
                "SLIPWAY_COLLECTION": settings.collection,
                "SLIPWAY_TRAFFIC_DIR": settings.traffic_dir,
                "SLIPWAY_JUDGE_METRIC": settings.judge_metric,
                "SLIPWAY_LM_MODEL": settings.lm_model,
                "SLIPWAY_LM_BASE_URL": settings.lm_base_url,
                "SLIPWAY_LM_API_KEY": "k",
                "SLIPWAY_LM_MAX_ATTEMPTS": settings.lm_max_attempts,
                "SLIPWAY_LM_ATTEMPT_TIMEOUT_SECONDS": settings.lm_attempt_timeout_seconds,
                "SLIPWAY_LM_RETRY_AFTER_CAP_SECONDS": settings.lm_retry_after_cap_seconds,
                "SLIPWAY_LM_QUEUE_CAP_SECONDS": settings.lm_queue_cap_seconds,
                "DSPY_CACHEDIR": settings.cache_dir,
            }.items()
        }

    @property
    def store(self) -> Store:
        return Store(self.folder / "artifacts")

    @property
    def bundle(self) -> Bundle:
        return Bundle.open(self.folder / "bundle")

    @property
    def now(self) -> str:
        """Three in the morning after the last day that was served, as `--until` takes it."""
        return datetime.fromtimestamp(self.start + self.day * DAY + 3 * 3600, UTC).strftime("%Y-%m-%dT%H:%M")

    def launch(self, *words: str) -> subprocess.Popen[bytes]:
        """`slipway …` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", "from slipway_server.cli import main; main()", *words],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": str(Path(drifting.__file__).parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def continued_in(self, folder: Path) -> World:
        """The same deployment up to now, to go on in another folder; provider and loop are shared."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return replace(self, folder=folder, overrides=dict(self.overrides), serving=dict(self.serving))

    def change_corpus(self, *, changed: bool) -> None:
        asyncio.run(ingest(self.settings, drifting.documents(changed=changed)))

    def compile(self) -> None:
        """The incumbent: its demos quote whole sentences."""
        rows = {
            "train.jsonl": [self._row(place, drifting.sentence(place, changed=False)) for place in TRAIN],
            "heldout.jsonl": [self._row(place, str(drifting.YEARS[place])) for place in HELDOUT],
            "anchors.jsonl": [
                {
                    **self._row(place, str(drifting.YEARS[place])),
                    "judged": {"answer": str(drifting.YEARS[place] + number % 2)},
                    "human": 1 - number % 2,
                }
                for number, place in enumerate(HELDOUT[:20])
            ],
        }
        for name, lines in rows.items():
            (self.folder / name).write_bytes(b"\n".join(map(orjson.dumps, lines)))
        paths = {name.removesuffix(".jsonl"): self.folder / name for name in rows}
        pack(self.folder / "bundle", train=paths["train"], heldout=paths["heldout"], anchors=paths["anchors"])
        with open_session(self.settings) as session:
            plan = Plan(
                train=dataset_for(session.new_program(), self.bundle.train),
                dev=dataset_for(session.new_program(), self.bundle.heldout),
                optimizer="labeled-few-shot",
                metric=metric_named("drifting:judged"),
                out=self.store.folder,
                settings={"k": 6},
                log_dir=self.folder / "logs",
                anchors=dataset_for(session.new_program(), self.folder / "anchors.jsonl"),
            )
            done = compile_program(session, plan)
        assert done.compiled.score >= 0.9
        self.store.promote(done.path.name)

    def anchors_without_judged_answers(self) -> None:
        """The bundle's anchors with labels only: no guard."""
        path = self.folder / "labels.jsonl"
        path.write_bytes(b"\n".join(orjson.dumps(self._row(place, "x")) for place in HELDOUT[:5]))
        folder = self.folder / "bundle"
        pack(folder, train=folder / "train.jsonl", heldout=folder / "heldout.jsonl", anchors=path)

    def serve(self, days: int, per_day: int, *, use_cache: bool = True) -> tuple[int, int]:
        """Answer questions on the next days; returns how many were answered and how many failed."""
        return asyncio.run(self._serve(days, per_day, use_cache))

    async def _serve(self, days: int, per_day: int, use_cache: bool) -> tuple[int, int]:
        settings = self.settings.model_copy(update={"artifact": self.store.folder, **self.serving})
        config = await asyncio.to_thread(TrafficConfig.from_settings, settings)
        assert config is not None
        clock = [0.0]
        # its days take milliseconds, and a loaded machine syncs slowly
        unhurried = replace(config, queue_records=100_000, rotate_seconds=DAY / 4, close_seconds=60)
        recorder = Recorder(unhurried, wall=lambda: clock[0])
        answered = failed = 0
        service = await open_service(settings, OwnerLoop.of_running_loop(), recorder=recorder)
        for _ in range(days):
            for number in range(per_day):
                clock[0] = self.start + self.day * DAY + number * DAY / per_day
                place = ASKED[(self.day * per_day + number) % len(ASKED)]
                context = RequestContext(f"d{self.day}-{number}", use_cache=use_cache)
                try:
                    await service.predict({"question": drifting.question(place)}, context, routing_key=f"u{number % 9}")
                    answered += 1
                except SlipwayError:
                    failed += 1
            self.day += 1
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "slipway-shadow"))
        await service.aclose()
        await recorder.aclose()
        return answered, failed

    def correct(self, number: int) -> None:
        """Users say what would have been right, in few words."""
        config = TrafficConfig.from_settings(self.settings)
        assert config is not None

        async def submit() -> None:
            store = FeedbackStore(config.folder, config.redactor)
            for place in ASKED[:number]:
                await store.submit(
                    Feedback(
                        feedback_id=f"f-{place}",
                        request_id="r",
                        rating="bad",
                        inputs={"question": drifting.question(place)},
                        correct_outputs={"answer": str(drifting.YEARS[place])},
                    )
                )

        asyncio.run(submit())

    @staticmethod
    def _row(place: str, answer: str) -> dict[str, Any]:
        return {"question": drifting.question(place), "answer": answer}


@contextmanager
def opened(folder: Path, start: float = START) -> Iterator[World]:
    """A world whose artifact was just promoted."""
    with OwnerLoop.in_thread() as owner:
        provider = Provider(SimulatorConfig())
        owner.run(provider.__aenter__())
        try:
            made = World(folder, provider, owner, start)
            made.change_corpus(changed=False)
            made.compile()
            yield made
        finally:
            owner.run(provider.__aexit__(None, None, None))
