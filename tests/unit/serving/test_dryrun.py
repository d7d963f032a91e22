# SPDX-License-Identifier: Apache-2.0
"""The dry run: what is waited for, how long, and what it says in the end."""

from __future__ import annotations

import pytest

from slipway_server import errors
from slipway_server.serving.dryrun import prove


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Script:
    """A service whose dry runs do what the script says, then pass."""

    def __init__(self, *outcomes: errors.SlipwayError) -> None:
        self.outcomes = list(outcomes)
        self.runs = 0

    async def dry_run(self) -> None:
        self.runs += 1
        if self.outcomes:
            raise self.outcomes.pop(0)


async def proved(service: Script, clock: Clock, limit: float = 60.0) -> list[str]:
    reports: list[str] = []

    async def report(text: str) -> None:
        reports.append(text)

    await prove(service, limit, report, sleep=clock.sleep, clock=clock)  # type: ignore[arg-type]
    return reports


async def test_a_pass_needs_one_run() -> None:
    service = Script()
    assert await proved(service, Clock()) == []
    assert service.runs == 1


async def test_passing_trouble_is_waited_for_and_named() -> None:
    service, clock = Script(errors.ProviderUnavailable("503"), errors.RetrievalUnavailable("no answer")), Clock()
    reports = await proved(service, clock)
    assert clock.pauses == [0.5, 1.0]
    assert reports == [
        "dry run met PROVIDER_UNAVAILABLE, not the artifact's fault: 503",
        "dry run met RETRIEVAL_UNAVAILABLE, not the artifact's fault: no answer",
    ]


async def test_the_wait_that_is_asked_for_is_kept() -> None:
    clock = Clock()
    await proved(Script(errors.ProviderRateLimited("429", retry_after_seconds=7)), clock)
    assert clock.pauses == [7]


async def test_pauses_grow_to_a_cap_and_end_at_the_limit() -> None:
    service, clock = Script(*[errors.ProviderUnavailable("503", endpoint="x") for _ in range(50)]), Clock()
    with pytest.raises(errors.ProviderUnavailable) as failure:
        await proved(service, clock, limit=60)
    assert clock.pauses == [0.5, 1, 2, 4, 8, 10, 10, 10, 10]
    assert clock.now - 100 <= 60
    assert "within 60 s" in failure.value.message
    assert "says nothing about the artifact" in failure.value.message
    assert failure.value.metadata == {"endpoint": "x"}


async def test_a_longer_wait_than_the_limit_is_not_begun() -> None:
    clock = Clock()
    with pytest.raises(errors.ProviderRateLimited):
        await proved(Script(errors.ProviderRateLimited("429", retry_after_seconds=61)), clock)
    assert clock.pauses == []


@pytest.mark.parametrize(
    "cls",
    [
        errors.ArtifactForeign,
        errors.ProviderAuth,
        errors.CollectionMissing,
        errors.ProgramFailed,
        errors.AnswerUnparseable,
    ],
)
async def test_what_the_deployment_is_to_blame_for_is_not_repeated(cls: type[errors.SlipwayError]) -> None:
    service = Script(cls("wrong"))
    with pytest.raises(cls, match=r"^wrong$"):
        await proved(service, Clock())
    assert service.runs == 1
