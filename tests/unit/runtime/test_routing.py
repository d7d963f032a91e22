# SPDX-License-Identifier: Apache-2.0
"""The same key gets the same variant everywhere, and the shares are what the weights say."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_server.errors import ConfigInvalid
from slipway_server.runtime.routing import Routing, bucket

keys = st.text(max_size=40)
weights = st.integers(0, 10_000)


@given(keys, keys)
def test_a_bucket_is_what_its_documentation_says(salt: str, key: str) -> None:
    digest = hashlib.blake2b(f"{salt}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    assert bucket(salt, key) == int(digest, 16) % 10_000


def test_another_process_decides_the_same() -> None:
    keys = [f"user-{number}" for number in range(50)]
    code = (
        "import sys; from slipway_server.runtime.routing import bucket; "
        "print([bucket('s', key) for key in sys.argv[1:]])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    found = subprocess.run(
        [sys.executable, "-c", code, *keys], capture_output=True, text=True, check=True, env=environment
    )
    assert found.stdout.strip() == str([bucket("s", key) for key in keys])


@given(keys, weights, weights)
def test_a_growing_weight_takes_no_key_back(key: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    if Routing(candidate_bps=small).picks_candidate(key):
        assert Routing(candidate_bps=large).picks_candidate(key)


@pytest.mark.parametrize("bps", [0, 1000, 5000, 10_000])
def test_shares_are_the_weights(bps: int) -> None:
    routing = Routing(candidate_bps=bps)
    share = sum(routing.picks_candidate(f"user-{number}") for number in range(20_000)) / 20_000
    assert share == pytest.approx(bps / 10_000, abs=0.01)


def test_the_shadow_samples_other_requests_than_the_candidate() -> None:
    routing = Routing(candidate_bps=1000, shadow_bps=1000)
    both = sum(
        routing.picks_candidate(f"r{number}") and routing.samples_shadow(f"r{number}") for number in range(20_000)
    )
    assert both / 20_000 == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"candidate": 10001}',
        b'{"candidate": -1}',
        b'{"candidate": "10"}',
        b'{"candidate": 1.5}',
        b'{"candidate": true}',
        b'{"candidat": 1}',
    ],
)
def test_anything_but_the_documented_json_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigInvalid, match="routing file: "):
        Routing().updated(content)


@given(st.binary(max_size=60))
def test_no_bytes_break_it(content: bytes) -> None:
    try:
        Routing().updated(content)
    except ConfigInvalid:
        return


def test_a_missing_key_is_zero() -> None:
    routing = Routing(candidate_bps=500, shadow_bps=500)
    assert routing.updated(b'{"candidate": 1000}') == Routing(candidate_bps=1000, shadow_bps=0)
