# SPDX-License-Identifier: Apache-2.0
"""What a governed provider answers, and what the governor makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from dspy import lm15

from slipway_server.errors import SlipwayError
from slipway_server.lm.errors import translate


def rate_limit(retry_after: float | None = None) -> lm15.RateLimitError:
    return lm15.RateLimitError("slow down", status=429, retry_after=retry_after)


def down() -> lm15.ServerError:
    return lm15.ServerError("down", status=503)


async def refused(call: Any) -> SlipwayError:
    """The catalogue's error that `call` raises."""
    with pytest.raises(lm15.LM15Error) as caught:
        await call
    known = translate(caught.value)
    assert known is not None
    return known
