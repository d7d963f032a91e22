# SPDX-License-Identifier: Apache-2.0
"""The dry run before SERVING: trouble that passes is waited for, a deployment that cannot work is refused at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from slipway_server.errors import DeadlineTooShort, OverloadError, SlipwayError, UnavailableError
from slipway_server.runtime.types import Service

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 10.0

PASSING = (OverloadError, UnavailableError, DeadlineTooShort)
"""What says nothing about the artifact."""

log = logging.getLogger(__name__)

Report = Callable[[str], Awaitable[None]]


async def prove(
    service: Service,
    limit_seconds: float,
    report: Report,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the dry run until it passes. `report` is told why it is still waited for.

    Raises the error at once where it blames the deployment. Where a limit or an outage lasts longer than
    `limit_seconds`, raises one of the same class, whose message says that the artifact is not to blame.
    """
    give_up, wait_seconds = clock() + limit_seconds, FIRST_WAIT_SECONDS
    while True:
        try:
            await _once(service, give_up - clock())
        except PASSING as error:
            pause = max(wait_seconds, error.retry_after_seconds or 0.0)
            if clock() + pause > give_up:
                raise _not_the_artifact(error, limit_seconds) from error
            await report(f"dry run met {error.reason}, not the artifact's fault: {error.message}")
            log.warning(
                "dry run retried", extra={"reason": error.reason, "detail": error.message, "pause_seconds": pause}
            )
        else:
            return
        await sleep(pause)
        wait_seconds = min(2 * wait_seconds, MAX_WAIT_SECONDS)


async def _once(service: Service, limit_seconds: float) -> None:
    try:
        async with asyncio.timeout(limit_seconds):
            await service.dry_run()
    except TimeoutError:
        raise DeadlineTooShort("the program did not answer in time") from None


def _not_the_artifact(error: SlipwayError, limit_seconds: float) -> SlipwayError:
    return type(error)(
        f"the dry run found no answer within {limit_seconds:g} s (SLIPWAY_DRY_RUN_SECONDS), "
        f"which says nothing about the artifact: {error.message}",
        retry_after_seconds=error.retry_after_seconds,
        **error.metadata,
    )
