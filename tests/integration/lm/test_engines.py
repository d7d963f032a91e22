# SPDX-License-Identifier: Apache-2.0
"""The LM as programs use it, over real HTTP: headers, keys, cancelling, streams, threads."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import dspy
import pytest
from aiohttp import web

from slipway_server import request
from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid, ProviderUnavailable, SlipwayError
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.errors import translate
from slipway_server.lm.stack import LMStack, open_stack
from slipway_server.request import RequestContext, TrafficClass
from slipway_server.simulate import Behaviour, Provider, SimulatorConfig

Open = Callable[..., Awaitable[LMStack]]
Ask = Callable[[LMStack], Awaitable[str]]
Seen = Callable[[int], Awaitable[int]]


def lm_request(stack: LMStack) -> dspy.lm15.Request:
    return dspy.lm15.Request(model=stack.lm.model, messages=(dspy.lm15.Message.user("Hello?"),))


@pytest.mark.parametrize("style", ["openai", "anthropic"])
async def test_headers_of_successes_make_the_pace(provider: Provider, open_lm: Open, ask: Ask, style: str) -> None:
    provider.configure(rpm=600, tpm=100_000, burst_seconds=6, headers=style)
    stack = await open_lm(lm_rpm=600)
    assert stack.governor.pacer.kind == "fixed"
    await ask(stack)
    assert stack.governor.pacer.kind == "priced"
    facts = stack.governor.pacer.facts()
    # Anthropic's resets are whole seconds: the bucket's size is known to a second of its rate.
    error = 0.01 if style == "openai" else 1 / 6
    assert facts.remaining_ratio["requests"] == pytest.approx(59 / 60, abs=error)
    assert facts.remaining_ratio["tokens"] == pytest.approx(1, abs=error + 0.02)  # one small request is gone
    assert facts.staleness_seconds is not None
    assert facts.staleness_seconds < 5


async def test_without_headers_pods_share(provider: Provider, open_lm: Open, ask: Ask) -> None:
    provider.configure(headers="none")
    shared = await open_lm(lm_rpm=60_000, lm_replicas=4)
    alone = await open_lm(lm_rpm=60_000)
    for _ in range(3):
        await ask(shared)
        await ask(alone)
    assert (shared.governor.pacer.kind, alone.governor.pacer.kind) == ("share", "fixed")
    assert shared.governor.pacer.facts().requests_per_second[TrafficClass.BATCH] == 250


async def test_the_account_and_the_price(provider: Provider, open_lm: Open, ask: Ask) -> None:
    stack = await open_lm(lm_prices="2:10")
    context = RequestContext()
    with request.opened(context):
        await ask(stack)
    account = context.account
    assert (account.lm_calls, account.attempts) == (1, 1)
    assert account.prompt_tokens > 0
    assert account.completion_tokens > 0
    assert account.cost_usd == pytest.approx((2 * account.prompt_tokens + 10 * account.completion_tokens) / 1e6)


async def test_the_environments_proxy_is_used(
    provider: Provider, open_lm: Open, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", provider.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    await ask(await open_lm(lm_base_url="http://provider.invalid/v1"))
    assert len(provider.ledger.entries) == 1


async def test_the_key_file_is_read_again(tmp_path: Path) -> None:
    async with Provider(SimulatorConfig(behaviour=Behaviour(answer="text"), keys=("new",))) as provider:
        key = tmp_path / "key"
        key.write_text("old\n")
        settings = Settings(lm_model="openai/m", lm_base_url=provider.base_url, lm_api_key_file=key, cache="off")
        stack = await open_stack(settings, owner=OwnerLoop.of_running_loop())
        with pytest.raises(dspy.lm15.AuthError):
            await stack.governor.complete(lm_request(stack))
        key.write_text("new\n")
        os.utime(key, ns=(1, 1))
        assert (await stack.governor.complete(lm_request(stack))).text
        key.unlink()
        with pytest.raises(dspy.lm15.ConfigurationError) as caught:
            await stack.governor.complete(lm_request(stack))
        meaning = translate(caught.value)
        assert isinstance(meaning, ConfigInvalid)
        assert meaning.message == f"SLIPWAY_LM_API_KEY_FILE: {key} cannot be read"
        await stack.aclose()


async def test_no_key_of_another_service_reaches_a_named_endpoint(
    provider: Provider, open_lm: Open, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody-elses")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    provider.configure(fault="none")
    stack = await open_lm(lm_api_key=None)
    assert await ask(stack) == "Paris"
    assert "litellm" not in sys.modules


@pytest.fixture
async def replies(open_lm: Open) -> AsyncIterator[tuple[list[str], LMStack]]:
    """Bodies that a provider replies with, one after the other, and an LM there."""
    bodies: list[str] = []

    async def reply(_: web.Request) -> web.Response:
        return web.Response(text=bodies.pop(0), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", reply)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield bodies, await open_lm(lm_base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    await runner.cleanup()


def completion(answer: str, **fields: object) -> str:
    message = {"role": "assistant", "content": f"[[ ## answer ## ]]\n{answer}"}
    return json.dumps({"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": message}], **fields})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("A \ud83d", "A \ufffd"), ("A \ude00 B", "A \ufffd B"), ("A \U0001f600 Ä", "A \U0001f600 Ä")],
)
async def test_half_an_emoji_is_replaced(replies: tuple[list[str], LMStack], ask: Ask, sent: str, shown: str) -> None:
    bodies, stack = replies
    bodies.append(completion(sent))
    assert await ask(stack) == shown


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "[" * 100_000,
        completion("Paris", usage=[1]),
        completion("Paris", usage={"prompt_tokens": -1}),
        completion("Paris", usage={"prompt_tokens": float("nan")}),
    ],
    ids=["list", "null", "deep", "usage list", "usage negative", "usage nan"],
)
async def test_json_of_another_shape_is_the_providers_fault(
    replies: tuple[list[str], LMStack], ask: Ask, body: str
) -> None:
    bodies, stack = replies
    bodies += [body, completion("Paris")]
    with pytest.raises(ProviderUnavailable, match="not what its interface promises"):
        await ask(stack)
    assert stack.governor.gate.in_flight == 0
    assert await ask(stack) == "Paris"


@pytest.mark.parametrize(
    "event", ["{oops", '{"choices": [], "usage": {"prompt_tokens": -1}}'], ids=["no json", "usage negative"]
)
async def test_an_event_of_another_shape_is_the_providers_fault(replies: tuple[list[str], LMStack], event: str) -> None:
    bodies, stack = replies
    begun = json.dumps({"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Paris"}}]})
    bodies.append(f"data: {begun}\n\ndata: {event}\n\ndata: [DONE]\n\n")
    with pytest.raises(dspy.lm15.ProviderError) as caught:
        [event async for event in stack.governor.stream(lm_request(stack))]
    assert isinstance(translate(caught.value), ProviderUnavailable)
    assert stack.governor.gate.in_flight == 0


async def test_usage_that_no_attempt_can_have_is_not_counted(replies: tuple[list[str], LMStack], ask: Ask) -> None:
    bodies, stack = replies
    bodies.append(completion("Paris", usage={"prompt_tokens": 10**400, "completion_tokens": 1}))
    context = RequestContext()
    with request.opened(context):
        assert await ask(stack) == "Paris"
    assert (context.account.prompt_tokens, context.account.completion_tokens) == (0, 0)


async def test_cancelling_ends_the_request_upstream(provider: Provider, open_lm: Open, requests_seen: Seen) -> None:
    stack = await open_lm()
    provider.configure(latency_seconds=30)
    task = asyncio.create_task(stack.governor.complete(lm_request(stack)))
    while not stack.governor.gate.in_flight:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stack.governor.gate.in_flight == 0
    assert await requests_seen(1) == 1
    assert provider.ledger.entries[0].finished_seconds < 10


async def test_leaving_a_stream_ends_it_upstream(provider: Provider, open_lm: Open, requests_seen: Seen) -> None:
    stack = await open_lm()
    provider.configure(text="word " * 1000, chunk_seconds=0.02)
    events = stack.governor.stream(lm_request(stack))
    async for event in events:
        if event.type == "delta":
            break
    await events.aclose()  # type: ignore[attr-defined]
    assert stack.governor.gate.in_flight == 0
    assert await requests_seen(1) == 1


async def test_a_slow_reader_holds_no_slot(provider: Provider, open_lm: Open) -> None:
    stack = await open_lm(lm_max_concurrency=1)
    provider.configure(text="word " * 50)
    events = stack.governor.stream(lm_request(stack))
    first = await anext(events)
    assert first.type == "start"
    assert (await asyncio.wait_for(stack.governor.complete(lm_request(stack)), 60)).text
    rest = [event async for event in events]
    assert rest[-1].type == "end"


async def test_a_stream_is_repeated_before_its_first_event(provider: Provider, open_lm: Open) -> None:
    stack = await open_lm()
    provider.configure(rpm=60, burst_seconds=1, retry_after="ms", text="one two")
    for _ in range(2):
        events = [event async for event in stack.governor.stream(lm_request(stack))]
        assert events[-1].type == "end"
    assert provider.ledger.count(status=200) == 2


def test_threads_and_loops_share_one_governor(settings_for: Callable[..., Settings]) -> None:
    with OwnerLoop.in_thread() as owner:
        settings = settings_for(lm_model="offline/extractive", lm_base_url=None)
        stack = owner.run(open_stack(settings, owner=owner))
        program = dspy.Predict("question -> answer")
        contexts = [RequestContext(), RequestContext()]
        with dspy.context(lm=stack.lm, adapter=dspy.ChatAdapter()):
            with request.opened(contexts[0]):
                assert program(question="Who?").answer
            with request.opened(contexts[1]):
                assert asyncio.run(program.acall(question="Who?")).answer
            streamed = list(stack.lm.engine.stream(lm_request(stack)))
        assert [context.account.attempts for context in contexts] == [1, 1]
        assert streamed[-1].type == "end"
        assert stack.governor.gate.in_flight == 0
        owner.run(stack.aclose())
    gc.collect()


async def test_a_synchronous_call_on_the_loop_is_a_clear_error(open_lm: Open) -> None:
    stack = await open_lm()
    with dspy.context(lm=stack.lm, adapter=dspy.ChatAdapter()), pytest.raises(dspy.LMError) as caught:
        dspy.Predict("question -> answer")(question="Who?")
    known = translate(caught.value)
    assert isinstance(known, SlipwayError)
    assert known.reason == "PROGRAM_INVALID"
    assert "aforward" in known.message


async def test_a_streamed_program_gets_its_tokens(provider: Provider, open_lm: Open) -> None:
    provider.configure(text="[[ ## answer ## ]]\nParis is the capital of France.\n\n[[ ## completed ## ]]")
    stack = await open_lm()
    program = dspy.streamify(
        dspy.Predict("question -> answer"),
        stream_listeners=[dspy.streaming.StreamListener("answer")],
        is_async_program=True,
    )
    context = RequestContext()
    with request.opened(context), dspy.context(lm=stack.lm, adapter=dspy.ChatAdapter()):
        chunks = [chunk async for chunk in program(question="What is the capital of France?")]
    text = "".join(chunk.chunk for chunk in chunks if isinstance(chunk, dspy.streaming.StreamResponse))
    assert text == chunks[-1].answer == "Paris is the capital of France."
    assert len(chunks) > 3
    assert context.account.attempts == 1
    assert context.account.completion_tokens > 0
    assert stack.governor.gate.in_flight == 0
