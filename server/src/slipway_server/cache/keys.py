# SPDX-License-Identifier: Apache-2.0
"""What makes two requests the same: one digest per entry.

    keys = Keys(namespace="default", endpoint="http://llm:8000/v1")
    keys.of_request(dspy_request)        # what DSPy passes to its cache
    keys.of_text("embedding", "…")       # anything that is a string already
    keys.of_values("answer", [...])      # anything that is JSON

In the key: namespace, endpoint, model, prompt, sampling parameters, n and rollout id. Not in it: credentials, timeouts,
headers, and whether the call was synchronous.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

VOLATILE = frozenset(
    {
        "api_key",
        "cache",
        "default_headers",
        "extra_headers",
        "headers",
        "max_retries",
        "num_retries",
        "request_timeout",
        "timeout",
    }
)
"""Fields of a request that do not change its answer."""

_ADDRESS = ("api_base", "base_url")
_IDENTIFIER = "_fn_identifier"


class NotKeyable(ValueError):
    """The request holds something that has no stable form, such as a function; it is not cached."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes digests: 64 hexadecimal digits, equal on every host."""

    namespace: str
    endpoint: str

    def of_request(self, request: Mapping[str, Any], ignored: Iterable[str] = ()) -> str:
        """The digest of a request in the form that DSPy gives to its cache. Raises NotKeyable.

        Args:
            request: Model, messages or typed request, parameters, rollout id and DSPy's function identifier.
            ignored: Further fields to leave out. An address is never left out: it tells endpoints apart.
        """
        skipped = VOLATILE.union(ignored, _ADDRESS)
        fields = {key: _number(value) for key, value in request.items() if key not in skipped and value is not None}
        if fields.get("n") == 1:
            del fields["n"]
        if _IDENTIFIER in fields:
            fields[_IDENTIFIER] = _without_async(str(fields[_IDENTIFIER]))
        address = next((str(request[key]) for key in _ADDRESS if request.get(key)), self.endpoint)
        return self._digest("lm", address.rstrip("/"), _canonical(fields))

    def of_values(self, kind: str, values: Any) -> str:
        """The digest of JSON values. Raises NotKeyable."""
        return self._digest(kind, "", _canonical(values))

    def of_text(self, kind: str, text: str) -> str:
        """The digest of a string that tells entries of `kind` apart by itself."""
        return self._digest(kind, "", text.encode("utf-8", "surrogatepass"))

    def _digest(self, kind: str, endpoint: str, body: bytes) -> str:
        return hashlib.sha256(orjson.dumps([kind, self.namespace, endpoint]) + b"\n" + body).hexdigest()


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise NotKeyable(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    raise TypeError(type(value).__name__)


def _number(value: Any) -> Any:
    """0 and 0.0 are one temperature."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_async(identifier: str) -> str:
    """DSPy names the asynchronous twin of a function apart; their answers are the same."""
    return (
        identifier.removesuffix(".async")
        .replace(".alitellm_", ".litellm_")
        .replace("._cached_acompute", "._cached_compute")
    )
