# SPDX-License-Identifier: Apache-2.0
"""Threads that parse at the same time all succeed, on every interpreter that Slipway runs on."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator

import pytest

from slipway_server.interpreter import needs_serial_parse

SOURCE = "def f(a: int, b: str = 'x'): return [a, (b, {1: [2, 3, {4: 5}]})]\n" * 20


class Cyclic:
    """Garbage whose finalizer runs Python code, which is when another thread gets its turn."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_threads_parse_at_the_same_time() -> None:
    failures: list[BaseException] = []

    def parse() -> None:
        try:
            for _ in range(200):
                ast.parse(SOURCE)
                ast.literal_eval("[1, {'a': (2, 3)}]")
                for _ in range(3):
                    Cyclic()
        except SystemError as error:
            failures.append(error)

    threads = [threading.Thread(target=parse) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("version", "needed"),
    [((3, 11, 7), True), ((3, 11, 8), False), ((3, 12, 0), True), ((3, 12, 2), False), ((3, 13, 0), False)],
)
def test_only_affected_versions_are_mended(version: tuple[int, int, int], needed: bool) -> None:
    assert needs_serial_parse(version) is needed
