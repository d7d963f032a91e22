# SPDX-License-Identifier: Apache-2.0
"""Slots through swaps, refusals and a failing candidate, with builds and proofs that a test decides."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slipway_server.config import Settings
from slipway_server.errors import ArtifactInvalid, ProviderUnavailable, SlipwayError
from slipway_server.runtime.keeper import SlotKeeper
from slipway_server.runtime.types import ArtifactInfo, VariantInfo
from slipway_server.runtime.variants import Source, Variant


class World:
    """Artifacts are files whose text is their digest. `proof` and `fault` are raised where set."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.files = {name: folder / name for name in ("stable", "candidate")}
        self.routing = folder / "routing.json"
        self.put("stable", "s1")
        self.put("candidate", "c1")
        self.proof: Exception | None = None
        self.proved: list[str] = []
        self.keeper = SlotKeeper(
            Settings(
                artifact=self.files["stable"],
                candidate_artifact=self.files["candidate"],
                candidate_weight_bps=5000,
                hot_reload=True,
                routing_dir=folder,
            ),
            self.build,
            self.prove,
        )

    def put(self, name: str, digest: str) -> None:
        new = self.files[name].with_suffix(".new")
        new.write_text(digest)
        new.replace(self.files[name])

    def build(self, source: Source) -> Variant:
        assert source.path is not None
        digest = source.path.read_text()
        if digest == "bad":
            raise ArtifactInvalid("bad.json: is bad")
        now, nothing = datetime.now(UTC), lambda inputs: None
        return Variant(source.name, None, ArtifactInfo(digest=digest), "", None, [], nothing, now)  # type: ignore[arg-type]

    async def prove(self, variant: Variant) -> None:
        self.proved.append(variant.artifact.digest)
        if self.proof:
            raise self.proof

    async def follow(self) -> None:
        await self.keeper.follow_artifacts()
        await self.keeper.follow_routing()

    def serving(self, name: str) -> Variant:
        return self.keeper.slots.variants[name]

    def info(self, name: str) -> VariantInfo:
        return next(info for info in self.keeper.slots.infos() if info.name == name)

    def observe(self, variant: Variant, times: int, *, failed: bool = True, latency: float | None = None) -> None:
        for _ in range(times):
            self.keeper.observe(variant, failed=failed, latency_seconds=latency)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.keeper.open()
    return world


async def test_a_failing_candidate_goes_and_its_successor_starts_with_a_clean_record(world: World) -> None:
    failing = world.serving("candidate")
    world.observe(failing, 30)
    assert world.info("candidate").weight_bps == 0
    world.put("candidate", "c2")
    await world.follow()
    assert (world.info("candidate").weight_bps, world.info("candidate").refused_update) == (5000, "")
    world.observe(failing, 30)
    assert world.info("candidate").weight_bps == 5000, "late answers of the one before"
    world.observe(world.serving("candidate"), 30)
    assert world.info("candidate").weight_bps == 0


async def test_another_stable_is_another_comparison(world: World) -> None:
    before, candidate = world.serving("stable"), world.serving("candidate")
    world.observe(before, 200, failed=True)
    world.put("stable", "s2")
    await world.follow()
    world.observe(before, 200, failed=True)
    world.observe(world.serving("stable"), 200, failed=False)
    world.observe(candidate, 30)
    assert "fails more than stable" in world.info("candidate").refused_update


async def test_a_swap_of_stable_does_not_bring_a_removed_candidate_back(world: World) -> None:
    world.observe(world.serving("candidate"), 30)
    world.put("stable", "s2")
    await world.follow()
    assert world.serving("stable").artifact.digest == "s2"
    assert world.info("candidate").weight_bps == 0


async def test_a_candidate_that_is_removed_while_its_successor_is_proved(world: World) -> None:
    failing = world.serving("candidate")
    world.put("candidate", "c2")
    prove = world.prove

    async def removing(variant: Variant) -> None:
        world.observe(failing, 30)
        assert world.info("candidate").weight_bps == 0
        await prove(variant)

    world.keeper._prove = removing
    await world.follow()
    assert (world.serving("candidate").artifact.digest, world.info("candidate").weight_bps) == ("c2", 5000)


async def test_weights_do_not_wait_for_an_artifact_that_is_being_proved(world: World) -> None:
    proving, proved = asyncio.Event(), asyncio.Event()

    async def slow(variant: Variant) -> None:
        proving.set()
        await proved.wait()

    world.keeper._prove = slow
    world.put("stable", "s2")
    update = asyncio.create_task(world.keeper.follow_artifacts())
    await proving.wait()
    world.routing.write_text('{"candidate": 0}')
    await world.keeper.follow_routing()
    assert world.info("candidate").weight_bps == 0
    proved.set()
    await update
    assert (world.serving("stable").artifact.digest, world.info("candidate").weight_bps) == ("s2", 0)


async def test_answers_from_a_cache_say_nothing_about_latency(world: World) -> None:
    stable, candidate = world.serving("stable"), world.serving("candidate")
    world.observe(stable, 950, failed=False, latency=None)
    world.observe(stable, 50, failed=False, latency=1.0)
    world.observe(candidate, 300, failed=False, latency=1.1)
    assert world.info("candidate").weight_bps == 5000
    world.observe(candidate, 100, failed=False, latency=9.0)
    assert "slower" in world.info("candidate").refused_update


async def test_a_rollback_takes_what_is_warm(world: World) -> None:
    first, opened = world.serving("stable"), world.info("stable").serving_since
    for digest in ("s2", "s1"):
        world.put("stable", digest)
        await world.follow()
    assert world.proved == ["s2"]
    assert world.serving("stable").program is first.program
    assert world.info("stable").serving_since > opened


async def test_what_is_refused_is_said_until_it_is_put_right(world: World) -> None:
    world.observe(world.serving("candidate"), 30)
    for name in ("stable", "candidate"):
        world.put(name, "bad")
    world.routing.write_text("{")
    await world.follow()
    assert (world.serving("stable").artifact.digest, world.serving("candidate").artifact.digest) == ("s1", "c1")
    assert "routing file" in world.info("stable").refused_update
    assert "bad.json: is bad" in world.info("stable").refused_update
    assert "fails more than stable" in world.info("candidate").refused_update
    assert "bad.json: is bad" in world.info("candidate").refused_update
    world.routing.write_text('{"candidate": 100}')
    await world.follow()
    assert world.info("stable").refused_update == "bad.json: is bad"
    world.routing.write_text("{ ")
    world.put("stable", "s1")
    await world.follow()
    assert world.info("stable").refused_update.startswith("routing file")


@pytest.mark.parametrize(
    ("proof", "again"),
    [
        (ProviderUnavailable("the provider is away"), True),
        (ArtifactInvalid("no answer"), False),
        (TypeError("secret"), False),
    ],
)
async def test_a_proof_that_fails_is_made_again_only_where_waiting_helps(
    proof: Exception, again: bool, world: World
) -> None:
    world.put("stable", "s2")
    world.proof = proof
    await world.follow()
    said = proof.message if isinstance(proof, SlipwayError) else "the update failed with TypeError; the log has it"
    assert (world.serving("stable").artifact.digest, world.info("stable").refused_update) == ("s1", said)
    world.proof = None
    await world.follow()
    assert world.serving("stable").artifact.digest == ("s2" if again else "s1")
