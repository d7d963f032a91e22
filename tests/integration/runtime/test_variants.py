# SPDX-License-Identifier: Apache-2.0
"""Variants under traffic: routed by key, swapped as a whole, refused where bad, taken out where failing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from artifact_drafts import draft

from slipway_server import request
from slipway_server.artifacts import Entry, Store, manifest_path, save
from slipway_server.config import Settings
from slipway_server.errors import ArtifactInvalid, DatasetInvalid, PinUnknown, ProgramFailed
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.runtime.routing import Routing
from slipway_server.runtime.service import ProgramService
from slipway_server.telemetry import metrics

PROGRAM = "programs:Versioned"
QUESTION = {"question": "Which version?"}
WATCH_SECONDS = 0.02

SettingsWith = Callable[..., Settings]
Serving = Callable[[Settings], AbstractAsyncContextManager[ProgramService]]


FAILING = "fails when asked"


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    """By version: artifacts whose program answers with it."""
    made = {}
    for version in ("A", "B", "C", FAILING):
        program = programs.Versioned()
        program.answer.signature = program.answer.signature.with_instructions(f"version {version}")
        made[version] = save(program, draft(PROGRAM), tmp_path / version.replace(" ", "-"))
    return made


def answered(answer: Any) -> tuple[str, str]:
    return answer.outputs["answer"], answer.receipt.artifact_digest


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def routed(
    settings_with: SettingsWith, artifacts: dict[str, Path], tmp_path: Path, cache: str
) -> tuple[Path, Settings]:
    """A folder for weights, and settings of a server with a candidate that follows it."""
    folder = tmp_path / "routing"
    folder.mkdir()
    settings = settings_with(
        program=PROGRAM,
        artifact=artifacts["A"],
        candidate_artifact=artifacts["B"],
        routing_dir=folder,
        watch_seconds=WATCH_SECONDS,
        cache=cache,
    )
    return folder, settings


async def test_keys_go_where_the_hash_says_and_follow_the_routing_file(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    folder, settings = routed(settings_with, artifacts, tmp_path, cache="off")
    async with serving(settings) as service:
        for weight in (0, 1000, 5000, 10_000, 0):
            (folder / "next").write_bytes(orjson.dumps({"candidate": weight}))
            (folder / "next").replace(folder / "routing.json")
            await until(lambda weight=weight: service.serving().variants[1].weight_bps == weight)
            expected = Routing(candidate_bps=weight)
            for number in range(60):
                key = f"user-{number}"
                answer = await service.predict(QUESTION, RequestContext(), routing_key=key)
                assert (answer.receipt.variant == "candidate") == expected.picks_candidate(key)
                assert answer.outputs["answer"] == ("B" if expected.picks_candidate(key) else "A")


async def test_weights_that_change_under_callers_send_no_key_astray(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    folder, settings = routed(settings_with, artifacts, tmp_path, cache="memory")
    stop, answers, at_weights = asyncio.Event(), 0, set()

    async with serving(settings) as service:

        def weight() -> int:
            return service.serving().variants[1].weight_bps

        async def caller(name: int) -> None:
            nonlocal answers
            while not stop.is_set():
                key, before = f"user-{name}-{answers}", weight()  # predict chooses before it waits for anything
                answer = await service.predict(QUESTION, RequestContext(), routing_key=key)
                offline = Routing(candidate_bps=before).picks_candidate(key)
                assert (answer.receipt.variant, answer.outputs["answer"]) == (
                    ("candidate", "B") if offline else ("stable", "A")
                )
                at_weights.add(before)
                answers += 1
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            for name in range(50):
                group.create_task(caller(name))
            for share in (1000, 5000, 10_000, 3000, 0):
                (folder / "next").write_bytes(orjson.dumps({"candidate": share}))
                (folder / "next").replace(folder / "routing.json")
                await until(lambda share=share: weight() == share)
                enough = answers + 200
                await until(lambda enough=enough: answers >= enough)
            stop.set()
    assert at_weights == {0, 1000, 3000, 5000, 10_000}


async def test_a_bad_routing_file_changes_nothing_and_is_named(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "routing"
    folder.mkdir()
    (folder / "routing.json").write_bytes(b'{"candidate": 2000}')
    settings = settings_with(
        program=PROGRAM,
        artifact=artifacts["A"],
        candidate_artifact=artifacts["B"],
        routing_dir=folder,
        watch_seconds=WATCH_SECONDS,
    )
    async with serving(settings) as service:
        assert [info.weight_bps for info in service.serving().variants] == [8000, 2000]
        (folder / "routing.json").write_bytes(b'{"candidate": 20')
        await until(lambda: "routing file" in service.serving().variants[0].refused_update)
        assert [info.weight_bps for info in service.serving().variants] == [8000, 2000]


@pytest.fixture
def store(artifacts: dict[str, Path], tmp_path: Path) -> Store:
    """A store with the artifacts A and B; A is current."""
    store = Store(tmp_path / "store")
    store.folder.mkdir()
    for version in ("A", "B"):
        shutil.copy(artifacts[version], store.folder)
        shutil.copy(manifest_path(artifacts[version]), store.folder)
    store.promote(artifacts["A"].name)
    return store


@pytest.fixture
def entries(store: Store, artifacts: dict[str, Path]) -> dict[str, Entry]:
    return {version: store.find(artifacts[version].name) for version in ("A", "B")}


@pytest.mark.parametrize("swaps", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_swaps_and_rollbacks_under_fifty_callers(
    settings_with: SettingsWith, serving: Serving, swaps: int, store: Store, entries: dict[str, Entry]
) -> None:
    digests = {entry.manifest.digest: version for version, entry in entries.items()}
    first, second = digests
    settings = settings_with(
        program=PROGRAM, artifact=store.folder, hot_reload=True, watch_seconds=WATCH_SECONDS, cache="memory"
    )
    stop, seen = asyncio.Event(), set()

    async with serving(settings) as service:

        async def caller() -> int:
            number = 0
            while not stop.is_set():
                answer, digest = answered(await service.predict(QUESTION, RequestContext()))
                assert digests[digest] == answer, "an answer mixes two artifacts"
                seen.add(digest)
                number += 1
                await asyncio.sleep(0.02)
            return number

        callers = [asyncio.create_task(caller()) for _ in range(50)]
        for swap in range(swaps):
            target = (second, first)[swap % 2]
            await asyncio.to_thread(store.promote, target)
            await until(lambda target=target: service.serving().variants[0].artifact.digest == target)
        stop.set()
        counts = await asyncio.gather(*callers)
    assert seen == {first, second}
    assert min(counts) > 0


async def test_a_bad_artifact_does_not_replace_the_one_that_serves(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    served, better = artifacts["A"], artifacts["B"]
    settings = settings_with(program=PROGRAM, artifact=served, hot_reload=True, watch_seconds=WATCH_SECONDS)
    async with serving(settings) as service:
        before = metrics.SWAPS.labels("stable", "refused")._value.get()
        await asyncio.to_thread(shutil.copy, better, served)
        await until(lambda: metrics.SWAPS.labels("stable", "refused")._value.get() > before)
        assert service.serving().variants[0].refused_update
        assert answered(await service.predict(QUESTION, RequestContext()))[0] == "A"
        await asyncio.to_thread(shutil.copy, manifest_path(better), manifest_path(served))
        await until(lambda: service.serving().variants[0].refused_update == "")
        assert answered(await service.predict(QUESTION, RequestContext()))[0] == "B"


async def test_a_bad_candidate_keeps_the_server_from_starting(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path]
) -> None:
    good, bad = artifacts["A"], artifacts["B"]
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(ArtifactInvalid):
        async with serving(settings_with(program=PROGRAM, artifact=good, candidate_artifact=bad)):
            pass


async def test_a_failing_candidate_leaves_the_routing_by_itself(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path]
) -> None:
    settings = settings_with(
        program=PROGRAM,
        artifact=artifacts["A"],
        candidate_artifact=artifacts[FAILING],
        candidate_weight_bps=5000,
        cache="off",
    )
    failures = 0
    async with serving(settings) as service:
        for number in range(200):
            try:
                await service.predict(QUESTION, RequestContext(), routing_key=f"user-{number}")
            except ProgramFailed:
                failures += 1
        _, candidate = service.serving().variants
        assert failures <= 30
        assert candidate.weight_bps == 0
        assert "fails more than stable" in candidate.refused_update
        with pytest.raises(ProgramFailed):
            await service.predict(QUESTION, RequestContext(), pin="candidate")


async def test_pins_reach_what_they_name_and_nothing_else(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path]
) -> None:
    settings = settings_with(
        program=PROGRAM, artifact=artifacts["A"], candidate_artifact=artifacts["B"], shadow_artifact=artifacts["C"]
    )
    async with serving(settings) as service:
        stable, candidate, shadow = service.serving().variants
        for pin, version in (
            ("stable", "A"),
            ("candidate", "B"),
            (candidate.artifact.digest, "B"),
            (stable.artifact.digest[:8], "A"),
        ):
            assert answered(await service.predict(QUESTION, RequestContext(), pin=pin))[0] == version
        for pin in ("shadow", shadow.artifact.digest, "nosuch", stable.artifact.digest[:7], "f" * 64):
            with pytest.raises(PinUnknown):
                await service.predict(QUESTION, RequestContext(), pin=pin)


async def test_the_shadow_runs_on_its_sample_and_never_answers(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path]
) -> None:
    settings = settings_with(
        program=PROGRAM, artifact=artifacts["A"], shadow_artifact=artifacts["C"], shadow_weight_bps=10_000
    )
    async with serving(settings) as service:
        before = metrics.SHADOW_RUNS.labels("answered")._value.get()
        assert answered(await service.predict(QUESTION, RequestContext()))[0] == "A"
        await until(lambda: metrics.SHADOW_RUNS.labels("answered")._value.get() == before + 1)


async def test_prewarmed_questions_are_hits_once_ready(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Which version?", "answer": "not an input"}\n\n{"question": ""}\n')
    settings = settings_with(program=PROGRAM, artifact=artifacts["A"], prewarm_file=questions, cache="memory")
    async with serving(settings) as service:
        await service.dry_run()
        assert (await service.predict(QUESTION, RequestContext())).receipt.cache == "memory"


async def test_shadow_and_prewarming_run_at_batch_priority(
    settings_with: SettingsWith,
    serving: Serving,
    artifacts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, TrafficClass]] = []
    run = ProgramService._run

    async def spied(service: ProgramService, variant: Any, inputs: Any, context: RequestContext) -> dict[str, Any]:
        seen.append((variant.name, request.current().traffic_class))
        return await run(service, variant, inputs, context)

    monkeypatch.setattr(ProgramService, "_run", spied)
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Which version?"}\n')
    settings = settings_with(
        program=PROGRAM,
        artifact=artifacts["A"],
        shadow_artifact=artifacts["C"],
        shadow_weight_bps=10_000,
        prewarm_file=questions,
    )
    async with serving(settings) as service:
        await service.dry_run()
        assert seen.count(("stable", TrafficClass.BATCH)) == seen.count(("shadow", TrafficClass.BATCH)) == 1
        seen.clear()
        await service.predict(QUESTION, RequestContext())
        await until(lambda: ("shadow", TrafficClass.BATCH) in seen)
        assert seen[0] == ("stable", TrafficClass.INTERACTIVE)


async def test_a_file_of_questions_that_is_no_text_is_named(
    settings_with: SettingsWith, serving: Serving, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_bytes(b"\xff")
    async with serving(settings_with(program=PROGRAM, artifact=artifacts["A"], prewarm_file=questions)) as service:
        with pytest.raises(DatasetInvalid, match="UTF-8"):
            await service.dry_run()
