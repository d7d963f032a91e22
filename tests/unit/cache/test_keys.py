# SPDX-License-Identifier: Apache-2.0
"""What is in a key and what is not (each row of the table in docs/cache.md)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from slipway_server.cache.keys import Keys, NotKeyable

KEYS = Keys("default", "http://one/v1")
BASE: dict[str, Any] = {
    "model": "openai/m",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 0.1,
    "max_tokens": 100,
    "_fn_identifier": "dspy.clients.lm.alitellm_completion",
}


class Shape(BaseModel):
    answer: str


class OtherShape(BaseModel):
    answer: int


def key(keys: Keys = KEYS, **changes: Any) -> str:
    return keys.of_request({**BASE, **changes}, ["api_key", "api_base", "base_url"])


@pytest.mark.parametrize(
    "changes",
    [
        {"_fn_identifier": "dspy.clients.lm.litellm_completion"},
        {"api_key": "tenant-b"},
        {"timeout": 9.99},
        {"extra_headers": {"traceparent": "00-1"}},
        {"num_retries": 3},
        {"n": 1},
        {"rollout_id": None},
        {"response_format": None},
        {"api_base": "http://one/v1/"},
        {"max_tokens": 100.0},
    ],
)
def test_same_entry(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "openai/other"},
        {"messages": [{"role": "user", "content": "ho"}]},
        {"temperature": 0.2},
        {"temperature": None},
        {"max_tokens": 101},
        {"n": 3},
        {"rollout_id": 1},
        {"api_base": "http://two/v1"},
        {"base_url": "http://two/v1"},
        {"response_format": Shape},
        {"tools": [{"type": "function"}]},
        {"_fn_identifier": "dspy.clients.lm.alitellm_text_completion"},
    ],
)
def test_another_entry(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_namespace_and_endpoint() -> None:
    assert key(Keys("staging", KEYS.endpoint)) != key()
    assert key(Keys(KEYS.namespace, "http://two/v1")) != key()
    assert key(Keys("a", "b")) != key(Keys("ab", ""))


def test_typed_requests_are_the_same_sync_and_async() -> None:
    request = {"request": {"model": "m"}, "rollout_id": None}
    first = KEYS.of_request({**request, "_fn_identifier": "dspy.clients.lm15.complete"})
    assert first == KEYS.of_request({**request, "_fn_identifier": "dspy.clients.lm15.complete.async"})


def test_temperature_zero_is_one_temperature() -> None:
    assert key(temperature=0) == key(temperature=0.0) != key(temperature=None)


def test_response_formats() -> None:
    assert key(response_format=Shape) == key(response_format=Shape) != key(response_format=OtherShape)
    assert key(response_format=Shape(answer="a")) != key(response_format=Shape(answer="b"))


def test_order_of_fields_does_not_matter() -> None:
    assert KEYS.of_request(dict(reversed(BASE.items()))) == key()


@pytest.mark.parametrize("value", [len, object(), {1: 2}, {"a": {1, 2}}, float("nan").__class__])
def test_what_has_no_stable_form_is_refused(value: Any) -> None:
    with pytest.raises(NotKeyable):
        key(stop=value)


def test_kinds_are_apart() -> None:
    assert KEYS.of_text("embedding", "x") != KEYS.of_text("other", "x")
