# SPDX-License-Identifier: Apache-2.0
"""What the simulated provider writes: rate-limit headers in two styles, Retry-After in every form, errors.

Formats: OpenAI's rate-limit guide (x-ratelimit-*, resets as durations like 6m0s or 12ms) and Anthropic's rate-limit
page (anthropic-ratelimit-*, resets as RFC 3339 times, remaining tokens rounded to thousands); Retry-After: RFC 9110.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple

from slipway_server.simulate.config import Behaviour, HeaderStyle
from slipway_server.simulate.quota import Dimension, Level

LATE_SECONDS = 30.0
ABSURD_SECONDS = 1_000_000_000


class Refusal(NamedTuple):
    """An error as the provider words it."""

    status: int
    kind: str
    code: str | None
    message: str


REFUSALS: Mapping[str, Refusal] = {
    "rate-limit": Refusal(429, "requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    "too-large": Refusal(429, "tokens", "rate_limit_exceeded", "Request too large for the token limit per minute."),
    "billing": Refusal(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "auth": Refusal(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "model": Refusal(404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "context-length": Refusal(
        400, "invalid_request_error", "context_length_exceeded", "The messages exceed the model's context length."
    ),
    "invalid": Refusal(400, "invalid_request_error", None, "Invalid value in the request."),
    "timeout": Refusal(408, "timeout", None, "The request timed out."),
    "server-error": Refusal(500, "server_error", None, "The server had an error."),
    "unavailable": Refusal(503, "server_error", None, "The engine is overloaded."),
    "overloaded": Refusal(529, "overloaded_error", None, "Overloaded."),
}
HTML_503 = "<html><head><title>503 Service Unavailable</title></head><body>upstream connect error</body></html>"


def error_body(refusal: Refusal, detail: str = "") -> dict[str, object]:
    """The JSON body of an error."""
    message = f"{refusal.message} {detail}".strip()
    return {"error": {"message": message, "type": refusal.kind, "param": None, "code": refusal.code}}


def rate_limit_headers(style: HeaderStyle, levels: Mapping[Dimension, Level]) -> dict[str, str]:
    """Headers that state the levels."""
    headers: dict[str, str] = {}
    for name, level in levels.items():
        if style == "openai":
            headers[f"x-ratelimit-limit-{name}"] = f"{level.limit:.0f}"
            headers[f"x-ratelimit-remaining-{name}"] = f"{math.floor(level.remaining)}"
            headers[f"x-ratelimit-reset-{name}"] = duration(level.reset_seconds)
        elif style == "anthropic":
            left = level.remaining if name == "requests" else round(level.remaining, -3)
            headers[f"anthropic-ratelimit-{name}-limit"] = f"{level.limit:.0f}"
            headers[f"anthropic-ratelimit-{name}-remaining"] = f"{math.floor(left)}"
            headers[f"anthropic-ratelimit-{name}-reset"] = _rfc3339(level.reset_seconds)
    return headers


def retry_after_headers(behaviour: Behaviour, wait_seconds: float) -> dict[str, str]:
    """A 429's advice in the configured form; none where waiting never helps."""
    if not math.isfinite(wait_seconds):
        return {}
    match behaviour.retry_after:
        case "right":
            return {"retry-after": str(max(1, math.ceil(wait_seconds)))}
        case "late":
            return {"retry-after": str(math.ceil(wait_seconds + LATE_SECONDS))}
        case "absurd":
            return {"retry-after": str(ABSURD_SECONDS)}
        case "date":
            moment = datetime.now(UTC) + timedelta(seconds=math.ceil(wait_seconds) + 1)
            return {"retry-after": format_datetime(moment, usegmt=True)}
        case "ms":
            return {"retry-after-ms": str(math.ceil(wait_seconds * 1000))}
        case "decimal":
            return {"retry-after": f"{wait_seconds:.3f}"}
        case "missing":
            return {}


def duration(seconds: float) -> str:
    """Seconds the way OpenAI's headers write them: 12ms, 1.5s, 6m0s, 1h0m0s."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail


def _rfc3339(after_seconds: float) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=after_seconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
