# SPDX-License-Identifier: Apache-2.0
"""What every test gets: a failing test where Slipway blocks an event loop, and no configuration from outside."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator

import grpc
import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(scope="session", autouse=True)
def poller() -> Iterator[None]:
    """Keeps grpc.aio's polling thread: it is joined, which blocks, wherever the last channel or server is collected."""
    with asyncio.Runner() as runner:
        # grpc.aio asks for the current loop, which other tests may have taken away from the main thread.
        runner.run(_in_loop(grpc.aio.init_grpc_aio))
        yield
        runner.run(_in_loop(grpc.aio.shutdown_grpc_aio))


async def _in_loop(function: Callable[[], None]) -> None:
    function()


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raises BlockingError where slipway_server blocks a running event loop."""
    with blockbuster_ctx("slipway_server") as guard:
        yield guard


@pytest.fixture(autouse=True)
def logs_as_found() -> Iterator[None]:
    """Ends what a command that ran in the test's process set up: its log goes to a stream that is closed by then."""
    loggers = (logging.getLogger(), logging.getLogger("slipway_server"))
    before = [(logger, logger.level) for logger in loggers]
    yield
    for logger, level in before:
        logger.setLevel(level)
    for handler in [one for one in loggers[0].handlers if type(one) is logging.StreamHandler]:
        loggers[0].removeHandler(handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no SLIPWAY_… key but those that they set."""
    for key in list(os.environ):
        if key.startswith("SLIPWAY_") and key != "SLIPWAY_TEST_QDRANT_URL":
            monkeypatch.delenv(key)
