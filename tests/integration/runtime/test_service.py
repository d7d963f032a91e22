# SPDX-License-Identifier: Apache-2.0
"""Any dspy.Module runs the same way, through one governor and one cache, and its receipt says what happened."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifact_drafts import compiled, draft
from programs import SearchesSometimes

from slipway_server.artifacts import save
from slipway_server.config import Settings
from slipway_server.errors import (
    ArtifactMissing,
    ArtifactRequired,
    CollectionMissing,
    DeadlineTooShort,
    InputEmpty,
    PinUnknown,
    ProgramFailed,
    ProgramInvalid,
    SlipwayError,
)
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.programs import rag
from slipway_server.request import DEADLINE_SLACK_SECONDS, RequestContext
from slipway_server.runtime.keeper import SlotKeeper
from slipway_server.runtime.service import ProgramService, open_service
from slipway_server.runtime.types import Receipt
from slipway_server.runtime.variants import Variant
from slipway_server.telemetry import metrics

QUESTION = {"question": "In which year was Port Callow founded?"}
RAG = "slipway_server.programs.rag:RAG"
SEARCHES_SOMETIMES = "programs:SearchesSometimes"

SettingsWith = Callable[..., Settings]
Serving = Callable[[Settings], AbstractAsyncContextManager[ProgramService]]


@pytest.mark.parametrize(
    ("program", "citations", "calls"),
    [
        (RAG, 3, 1),
        ("programs:TutorialRAG", 3, 1),
        ("programs:TwoHop", None, 2),
        ("programs:AsyncOnly", 2, 1),
        ("programs:ForwardOnly", 0, 1),
        ("programs:Plain", 0, 1),
        ("programs:Agent", None, None),
    ],
)
async def test_any_module_answers_and_writes_a_receipt(
    settings_with: SettingsWith, serving: Serving, program: str, citations: int | None, calls: int | None
) -> None:
    async with serving(settings_with(program=program)) as service:
        answer = await service.predict(QUESTION, RequestContext(request_id="r1", deadline=time.monotonic() + 30))
    assert answer.outputs["answer"]
    receipt = answer.receipt
    assert (receipt.request_id, receipt.program, receipt.variant) == ("r1", program, "stable")
    assert receipt.server == socket.gethostname()
    assert receipt.cache == "miss"
    assert receipt.attempts == receipt.lm_calls
    assert receipt.lm_calls == calls if calls else receipt.lm_calls >= 2
    if citations is None:
        assert len(receipt.citations) >= 2
    else:
        assert len(receipt.citations) == citations
    assert receipt.collection_version.startswith("isles-") == (len(receipt.citations) > 0)
    assert receipt.prompt_tokens > 0


@pytest.mark.parametrize("program", [RAG, "programs:TutorialRAG"])
async def test_the_same_question_again_is_answered_from_memory(
    settings_with: SettingsWith, serving: Serving, program: str
) -> None:
    async with serving(settings_with(program=program)) as service:
        first = await service.predict(QUESTION, RequestContext())
        second = await service.predict(QUESTION, RequestContext())
        bypassing = await service.predict(QUESTION, RequestContext(use_cache=False))
    assert second.outputs == first.outputs
    assert (second.receipt.cache, second.receipt.lm_calls) == ("memory", 0)
    assert (bypassing.receipt.cache, bypassing.receipt.lm_calls) == ("bypass", 1)


async def test_the_next_process_finds_the_answer_on_the_volume(settings_with: SettingsWith, serving: Serving) -> None:
    async with serving(settings_with(program=RAG)) as service:
        await service.predict(QUESTION, RequestContext())
    async with serving(settings_with(program=RAG)) as service:
        assert (await service.predict(QUESTION, RequestContext())).receipt.cache == "disk"


async def test_exactly_k_passages(settings_with: SettingsWith, serving: Serving) -> None:
    for k in (1, 5):
        async with serving(settings_with(program=RAG, retrieval_k=k)) as service:
            assert len((await service.predict(QUESTION, RequestContext())).receipt.citations) == k


async def test_concurrent_requests_keep_their_receipts_apart(settings_with: SettingsWith, serving: Serving) -> None:
    async with serving(settings_with(program=RAG)) as service:
        questions = [f"How many people live on island number {i}?" for i in range(40)]
        contexts = [RequestContext(request_id=f"r{i}") for i in range(40)]
        answers = await asyncio.gather(
            *(service.predict({"question": q}, c) for q, c in zip(questions, contexts, strict=True))
        )
    assert [a.receipt.request_id for a in answers] == [f"r{i}" for i in range(40)]
    assert all(a.receipt.lm_calls == 1 and len(a.receipt.citations) == 3 for a in answers)


async def test_the_dry_run_asks_past_the_cache(settings_with: SettingsWith, serving: Serving) -> None:
    async with serving(settings_with(program=RAG)) as service:
        await service.dry_run()
        assert service.serving().collection_version.startswith("isles-")
        assert service.serving().input_fields == ["question"]
        assert service.serving().output_fields == ["reasoning", "answer"]


async def test_a_missing_collection_fails_the_dry_run_of_a_program_that_searches(
    settings_with: SettingsWith, serving: Serving
) -> None:
    async with serving(settings_with(program=RAG, collection="nosuch")) as service:
        with pytest.raises(CollectionMissing, match="nosuch"):
            await service.dry_run()
    async with serving(settings_with(program="programs:Plain", collection="nosuch")) as service:
        await service.dry_run()


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"program": "nosuch:Program"}, ProgramInvalid),
        ({"program": RAG, "allow_uncompiled": False}, ArtifactRequired),
        ({"program": RAG, "artifact": Path("nosuch.json")}, ArtifactMissing),
    ],
)
async def test_a_wrong_deployment_does_not_open(
    settings_with: SettingsWith, serving: Serving, overrides: dict[str, object], error: type[SlipwayError]
) -> None:
    with pytest.raises(error):
        await open_service(settings_with(**overrides), OwnerLoop.of_running_loop())


async def test_wrong_requests(settings_with: SettingsWith, serving: Serving) -> None:
    async with serving(settings_with(program="programs:Plain")) as service:
        with pytest.raises(InputEmpty):
            await service.predict({"question": ""}, RequestContext())
        with pytest.raises(PinUnknown, match="candidate"):
            await service.predict(QUESTION, RequestContext(), pin="candidate")
        await service.predict(QUESTION, RequestContext(), pin="stable")


async def test_a_programs_exception_is_logged_and_hidden(
    settings_with: SettingsWith, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings_with(program="programs:Failing")) as service:
        with pytest.raises(ProgramFailed) as caught:
            await service.predict(QUESTION, RequestContext(request_id="r1"))
    assert "secret" not in caught.value.message
    assert caught.value.metadata == {"request_id": "r1"}
    assert "secret" in caplog.text


async def test_the_deadline_ends_a_slow_program(settings_with: SettingsWith, serving: Serving) -> None:
    async with serving(settings_with(program="programs:Hanging")) as service:
        with pytest.raises(DeadlineTooShort):
            await service.predict(QUESTION, RequestContext(deadline=time.monotonic() + 0.2))


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """What the guard hears of answers: whether they failed, and whether their latency counts."""
    heard: list[tuple[bool, bool]] = []

    def observe(keeper: SlotKeeper, variant: Variant, *, failed: bool, latency_seconds: float | None) -> None:
        heard.append((failed, latency_seconds is not None))

    monkeypatch.setattr(SlotKeeper, "observe", observe)
    return heard


async def test_only_answers_past_the_cache_tell_the_guard_how_fast_a_variant_is(
    settings_with: SettingsWith, serving: Serving, observed: list[tuple[bool, bool]]
) -> None:
    async with serving(settings_with(program="programs:Plain")) as service:
        for use_cache in (True, True, False):
            await service.predict(QUESTION, RequestContext(use_cache=use_cache))
    assert observed == [(False, True), (False, False), (False, True)]


async def test_a_call_that_is_cancelled_at_its_deadline_failed_and_one_that_is_given_up_did_not(
    settings_with: SettingsWith, serving: Serving, observed: list[tuple[bool, bool]]
) -> None:
    async with serving(settings_with(program="programs:Hanging")) as service:
        for seconds in (30, DEADLINE_SLACK_SECONDS):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await service.predict(QUESTION, RequestContext(deadline=time.monotonic() + seconds))
    assert observed == [(True, False)]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return save(compiled(rag.RAG()), draft(RAG), tmp_path)


async def test_whole_answers_are_remembered_with_their_citations(
    settings_with: SettingsWith, serving: Serving, artifact: Path
) -> None:
    async with serving(settings_with(program=RAG, artifact=artifact, cache_answers=True)) as service:
        await service.dry_run()
        first = await service.predict(QUESTION, RequestContext())
        second = await service.predict(QUESTION, RequestContext())
        bypassing = await service.predict(QUESTION, RequestContext(use_cache=False))
    assert (first.receipt.cache, second.receipt.cache, bypassing.receipt.cache) == ("miss", "memo", "bypass")
    assert second.outputs == first.outputs
    assert second.receipt.citations == first.receipt.citations
    assert second.receipt.collection_version == first.receipt.collection_version


async def test_remembered_answers_are_recorded_with_their_passages(settings_with: SettingsWith, artifact: Path) -> None:
    contexts: list[list[str]] = []

    def recorder(inputs: Any, outputs: Any, receipt: Receipt, routing_key: str = "") -> None:
        contexts.append([receipt.cache, *(cited.text for cited in receipt.citations)])

    settings = settings_with(program=RAG, artifact=artifact, cache_answers=True)
    service = await open_service(settings, OwnerLoop.of_running_loop(), recorder=recorder)
    try:
        for _ in range(2):
            await service.predict(QUESTION, RequestContext())
    finally:
        await service.aclose()
    (tier, *first), (again, *second) = contexts
    assert (tier, again) == ("miss", "memo")
    assert all(first)
    assert second == first


async def test_an_equal_request_is_answered_again_as_if_it_had_been_asked(
    settings_with: SettingsWith, artifact: Path
) -> None:
    """With its own id, counted, recorded and in the account of its own request."""
    recorded: list[tuple[Any, ...]] = []

    def recorder(inputs: Any, outputs: Any, receipt: Receipt, routing_key: str = "") -> None:
        recorded.append((receipt.request_id, inputs, outputs, routing_key))

    settings = settings_with(program=RAG, artifact=artifact, cache_answers=True)
    service = await open_service(settings, OwnerLoop.of_running_loop(), recorder=recorder)
    try:
        first = await service.predict(QUESTION, RequestContext("first"), routing_key="user")
        second = await service.predict(QUESTION, RequestContext("second"), routing_key="user")
        assert first.again is None
        assert second.again is not None
        lookups = metrics.CACHE_LOOKUPS.labels("answer", "memo")._value.get()
        context = RequestContext("third")
        third = second.again(context)
        assert metrics.CACHE_LOOKUPS.labels("answer", "memo")._value.get() == lookups + 1
    finally:
        await service.aclose()
    assert third is not None
    assert (third.own.request_id, third.receipt.cache, context.account.variant) == ("third", "memo", "stable")
    assert (third.outputs, third.receipt.citations) == (first.outputs, first.receipt.citations)
    assert recorded == [(name, QUESTION, first.outputs, "user") for name in ("first", "second", "third")]


async def test_what_a_shadow_does_to_its_inputs_no_later_request_sees(
    settings_with: SettingsWith, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[Any] = []

    def recorder(inputs: Any, outputs: Any, receipt: Receipt, routing_key: str = "") -> None:
        recorded.append(dict(inputs))

    settings = settings_with(
        program=RAG, artifact=artifact, shadow_artifact=artifact, shadow_weight_bps=10_000, cache_answers=True
    )
    service = await open_service(settings, OwnerLoop.of_running_loop(), recorder=recorder)
    try:
        await service.predict(QUESTION, RequestContext())
        remembered = await service.predict(QUESTION, RequestContext())
        changed: list[str] = []

        def start(variant: Variant, inputs: dict[str, Any], request_id: str, routing_key: str) -> None:
            inputs["question"] = "changed"
            changed.append(request_id)

        monkeypatch.setattr(service._shadow, "start", start)
        assert remembered.again is not None
        assert all(remembered.again(RequestContext(name)) for name in "ab")
    finally:
        await service.aclose()
    assert changed == ["a", "b"]
    assert recorded[-2:] == [QUESTION, QUESTION]


async def test_an_equal_request_is_asked_anew_where_predict_would_ask(
    settings_with: SettingsWith, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await open_service(
        settings_with(program=RAG, artifact=artifact, cache_answers=True), OwnerLoop.of_running_loop()
    )
    try:
        await service.predict(QUESTION, RequestContext())
        pinned = await service.predict(QUESTION, RequestContext(pin="stable"), pin="stable")
        assert pinned.again is None, "the pin of a request's metadata is not in its message"
        remembered = await service.predict(QUESTION, RequestContext())
        assert remembered.again is not None
        assert remembered.again(RequestContext(pin="stable")) is None
        assert remembered.again(RequestContext()) is not None
        with monkeypatch.context() as patched:
            patched.setattr(type(service._stack.retriever), "collection_version", "another")
            assert remembered.again(RequestContext()) is None, "the collection is another one"
        with monkeypatch.context() as patched:
            variant = service._keeper.slots.stable
            other = replace(variant, artifact=replace(variant.artifact, digest="0" * 64))
            patched.setattr(service._keeper, "slots", service._keeper.slots.with_variant(other))
            assert remembered.again(RequestContext()) is None, "the artifact is another one"
        service._stack.cache.memory._remove(remembered.key)
        assert remembered.again(RequestContext()) is None, "memory has it no longer"
    finally:
        await service.aclose()


@pytest.fixture
def artifact_that_searches_sometimes(tmp_path: Path) -> Path:
    return save(compiled(SearchesSometimes()), draft(SEARCHES_SOMETIMES), tmp_path)


async def test_an_answer_that_needed_no_search_is_remembered_too(
    settings_with: SettingsWith, serving: Serving, artifact_that_searches_sometimes: Path
) -> None:
    settings = settings_with(program=SEARCHES_SOMETIMES, artifact=artifact_that_searches_sometimes, cache_answers=True)
    async with serving(settings) as service:
        tiers = []
        for question in ("Hello", "Hello", "Who built the harbour?", "Hello", "Hello"):
            answer = await service.predict({"question": question}, RequestContext())
            tiers.append(answer.receipt.cache)
    assert tiers == ["miss", "memo", "miss", "memory", "memo"]


async def test_the_artifacts_beside_the_served_one_are_listed(
    settings_with: SettingsWith, serving: Serving, artifact: Path
) -> None:
    async with serving(settings_with(program=RAG, artifact=artifact)) as service:
        [listed] = await service.artifacts()
        assert listed == service.serving().variants[0].artifact
