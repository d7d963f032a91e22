# SPDX-License-Identifier: Apache-2.0
"""An answer that was remembered: read only as far as somebody asks.

Most requests that are answered from memory need none of it but the form that their caller's response has; the recorder,
and the first caller with another form, read the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from slipway_server.cache.memo import content_of
from slipway_server.cache.memory import Form, Held
from slipway_server.request import Citation
from slipway_server.runtime.types import Answer, Own, Receipt


class Known(NamedTuple):
    """What finds a remembered answer again for an equal request. The answer itself is not held."""

    key: str
    """The answer's, in memory."""
    artifact_digest: str
    collection_version: str
    inputs: dict[str, Any]
    routing_key: str
    pin: str


class RememberedAnswer(Answer):
    """`write` makes the receipt, in which the citations are missing."""

    def __init__(self, remembered: Held, own: Own, write: Callable[[], Receipt]) -> None:
        self.own = own
        self._remembered = remembered
        self._write = write

    @property
    def key(self) -> str:
        """What finds it again in memory."""
        return self._remembered.digest

    @cached_property
    def _content(self) -> dict[str, Any]:
        return content_of(self._remembered)

    @property
    def outputs(self) -> Mapping[str, Any]:
        outputs: Mapping[str, Any] = self._content["outputs"]
        return outputs

    @cached_property
    def receipt(self) -> Receipt:
        return replace(self._write(), citations=tuple(Citation(*cited) for cited in self._content["citations"]))

    def form(self, name: str) -> Form | None:
        return self._remembered.forms.get(name)

    def keep(self, name: str, form: Form) -> None:
        self._remembered.keep(name, form)
