# SPDX-License-Identifier: Apache-2.0
"""The bound collection for programs that use dspy.Retrieve (older tutorials do): what dspy.settings.rm wants."""

from __future__ import annotations

from slipway_server.retrieval import binding
from slipway_server.retrieval.types import Passage


class RetrieveModel:
    """`rm(query, k=3)` → passages with `long_text`; called from a thread, searches on the owner loop."""

    def __call__(self, query: str, k: int | None = None, **_: object) -> list[Passage]:
        [passages] = binding.search_from_thread([query], k)
        return passages

    def __deepcopy__(self, memo: object) -> RetrieveModel:
        return self
