# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError, LMServerError

from slipway_server import request
from slipway_server.errors import (
    ContextTooLong,
    ProgramInvalid,
    ProviderAuth,
    ProviderRateLimited,
    ProviderUnavailable,
    RunVoid,
)
from slipway_server.evaluation import EvaluatorConfig, LabelledExample, Metric, Outcome, compare, evaluate, metric_named
from slipway_server.request import TrafficClass

METRIC = metric_named("exact-match")


def examples(n: int) -> list[LabelledExample]:
    return [LabelledExample(question=str(i), answer=str(i)).with_inputs("question") for i in range(n)]


def answering(**exceptions: Exception) -> Any:
    """Echoes the question; example "3" raises what `_3=` names."""

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        error = exceptions.get("_" + inputs["question"])
        if error is not None:
            raise error
        await asyncio.sleep(0)
        account = request.current().account
        account.lm_calls += 1
        account.prompt_tokens += 10
        account.completion_tokens += 2
        account.cost_usd = (account.cost_usd or 0) + 0.001
        return dspy.Prediction(answer=inputs["question"])

    return invoke


def parse_error() -> AdapterParseError:
    return AdapterParseError("ChatAdapter", dspy.Signature("question -> answer"), "nonsense")


async def test_scores_and_accounts() -> None:
    seen: list[tuple[int, int]] = []
    result = await evaluate(
        answering(), examples(30), METRIC, on_progress=lambda done, total: seen.append((done, total))
    )
    assert (result.score, result.n) == (1.0, 30)
    assert result.prompt_tokens == 10
    assert result.completion_tokens == 2
    assert result.lm_calls == 1
    assert result.cost_usd == pytest.approx(0.001)
    assert result.latency_seconds(0.5) <= result.latency_seconds(0.95)
    assert seen == [(done, 30) for done in range(1, 31)]


async def test_three_outcomes() -> None:
    errors = {"_7": parse_error(), "_8": ContextTooLong("too long"), "_9": LMServerError("503")}
    result = await evaluate(answering(**errors), examples(100), METRIC)
    assert result.count(Outcome.SCORED) == 97
    assert result.count(Outcome.PARSE_ERROR) == 2
    assert result.count(Outcome.INFRASTRUCTURE_ERROR) == 1
    assert result.n == 99
    assert result.score == 97 / 99
    assert result.items[9].score is None
    assert result.items[9].reason == "PROVIDER_UNAVAILABLE"
    assert result.items[7].reason == "ANSWER_UNPARSEABLE"


async def test_above_two_percent_the_run_is_void_and_stops() -> None:
    asked = 0

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        nonlocal asked
        asked += 1
        raise ProviderRateLimited("the provider's rate limit is reached")

    with pytest.raises(RunVoid, match=r"3 of 100 examples failed .* \(PROVIDER_RATE_LIMITED\), more than 2%"):
        await evaluate(invoke, examples(100), METRIC, config=EvaluatorConfig(concurrency=2))
    assert asked <= 6


async def test_exactly_two_percent_is_not() -> None:
    errors = {"_1": ProviderUnavailable("x"), "_2": ProviderUnavailable("x")}
    result = await evaluate(answering(**errors), examples(100), METRIC)
    assert result.n == 98


async def test_a_wrong_deployment_ends_the_run_at_once() -> None:
    asked = 0

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        nonlocal asked
        asked += 1
        raise ProviderAuth("the provider refuses the API key")

    with pytest.raises(ProviderAuth):
        await evaluate(invoke, examples(100), METRIC)
    assert asked == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [(KeyError("bug"), "raised an exception, .* for all 5"), (ContextTooLong("too long"), "longer than .* for all 5")],
)
async def test_what_fails_on_every_example_is_no_score(error: Exception, message: str) -> None:
    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        raise error

    with pytest.raises(RunVoid, match=message):
        await evaluate(invoke, examples(5), METRIC)


async def test_past_the_cache_and_in_its_own_class() -> None:
    contexts: list[request.RequestContext] = []

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        contexts.append(request.current())
        return dspy.Prediction(answer="x")

    await evaluate(invoke, examples(3), METRIC)
    assert not any(context.use_cache for context in contexts)
    assert {context.traffic_class for context in contexts} == {TrafficClass.EVALUATION}
    assert len({context.request_id for context in contexts}) == 4
    contexts.clear()
    await evaluate(invoke, examples(3), METRIC, config=EvaluatorConfig(use_cache=True, warm_up=False))
    assert [context.use_cache for context in contexts] == [True] * 3


async def test_concurrency_is_bounded() -> None:
    running = most = 0

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        return dspy.Prediction(answer="x")

    await evaluate(invoke, examples(40), METRIC, config=EvaluatorConfig(concurrency=7))
    assert most == 7


async def test_a_metric_that_fails_is_not_the_programs_fault() -> None:
    def judge(example: Any, prediction: Any, trace: Any = None) -> float:
        if example.question == "3":
            raise parse_error()
        return 1.0

    result = await evaluate(answering(), examples(100), Metric("judge", judge, blocking=True))
    assert result.count(Outcome.INFRASTRUCTURE_ERROR) == 1
    assert result.score == 1.0


async def test_a_broken_metric_ends_the_run() -> None:
    def broken(example: Any, prediction: Any, trace: Any = None) -> float:
        return example.nosuch

    with pytest.raises(ProgramInvalid, match="raised AttributeError"):
        await evaluate(answering(), examples(3), Metric("broken", broken))


async def test_a_comparison_is_over_the_examples_that_count_in_both() -> None:
    first = await evaluate(answering(_1=ProviderUnavailable("x")), examples(100), METRIC)
    second = await evaluate(answering(_2=parse_error()), examples(100), METRIC)
    result = compare(first, second)
    assert result.n == 99
    assert (result.better, result.worse) == (0, 1)


async def test_cancelling_stops_the_examples_under_way() -> None:
    cancelled = 0

    async def invoke(inputs: dict[str, Any]) -> dspy.Prediction:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return dspy.Prediction()

    task = asyncio.create_task(
        evaluate(invoke, examples(10), METRIC, config=EvaluatorConfig(concurrency=4, warm_up=False))
    )
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == 4
