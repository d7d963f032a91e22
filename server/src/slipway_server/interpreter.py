# SPDX-License-Identifier: Apache-2.0
"""What Slipway needs mended in the interpreter itself; applied once, when the package is imported.

CPython 3.11.0-3.11.7 and 3.12.0-3.12.1 count the depth of every AST under construction in one place for all threads.
A garbage collection in the middle lets another thread in, and a valid text then raises `SystemError: AST constructor
recursion depth mismatch` (https://github.com/python/cpython/issues/106905). DSPy parses one for each signature given
as a string and for values of many types, so concurrent requests meet it. Where it is needed, `ast.parse` takes a lock.
"""

from __future__ import annotations

import ast
import functools
import sys
import threading
from typing import Any


def needs_serial_parse(version: tuple[int, int, int]) -> bool:
    """Whether this version of CPython counts the depth for all threads together."""
    return (3, 11, 0) <= version < (3, 11, 8) or (3, 12, 0) <= version < (3, 12, 2)


def serialize_parse() -> None:
    """Let one thread at a time be in `ast.parse`, and so in `ast.literal_eval`; the second call changes nothing."""
    if isinstance(ast.parse, _Serial):
        return
    ast.parse = _Serial(ast.parse)


class _Serial:
    """A function that one thread at a time is in; reentrant, since a finalizer may run in the middle."""

    def __init__(self, function: Any) -> None:
        self._function, self._lock = function, threading.RLock()
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            return self._function(*arguments, **options)


def mend() -> None:
    """Apply what this interpreter needs."""
    if needs_serial_parse(sys.version_info[:3]):
        serialize_parse()
