# SPDX-License-Identifier: Apache-2.0
"""Everything that a program needs to run, opened once per process: cache, LM, retriever, DSPy settings.

stack = await open_stack(settings, owner)       # on the owner loop
with dspy.context(**stack.dspy_settings()):
    …
await stack.aclose()
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from slipway_server import cache
from slipway_server.cache import SharedCache
from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid, ProgramInvalid
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.lm.stack import LMStack
from slipway_server.lm.stack import open_stack as open_lm
from slipway_server.retrieval import binding, open_retriever
from slipway_server.runtime.adapter import SlipwayAdapter
from slipway_server.runtime.executor import DspyExecutor
from slipway_server.runtime.imports import import_attribute
from slipway_server.runtime.lazy import LazyRetriever
from slipway_server.runtime.retrieve_model import RetrieveModel


@dataclass(frozen=True)
class Stack:
    """What one process shares between all its requests."""

    settings: Settings
    owner: OwnerLoop
    cache: SharedCache
    lm: LMStack
    retriever: LazyRetriever
    callbacks: list[Any]

    def dspy_settings(self, *, memoise_prompts: bool) -> dict[str, Any]:
        """Keyword arguments for dspy.context. No history: DSPy would keep every user's prompts in five places."""
        return {
            "lm": self.lm.lm,
            "adapter": SlipwayAdapter(memoise=memoise_prompts),
            "rm": RetrieveModel(),
            "callbacks": self.callbacks,
            "disable_history": True,
            "warn_on_type_mismatch": False,
        }

    async def aclose(self) -> None:
        """Close what is open, the cache last: it has writes to flush."""
        binding.bind(None)
        await self.retriever.aclose()
        await self.lm.aclose()
        await self.cache.aclose()


async def open_stack(settings: Settings, owner: OwnerLoop) -> Stack:
    """Open everything on the running loop, which must be `owner`'s. Raises SlipwayError, with nothing left open."""
    asyncio.get_running_loop().set_default_executor(DspyExecutor())
    callbacks = await asyncio.to_thread(_callbacks, settings.callbacks)
    shared = cache.open_cache(settings)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(shared.aclose)
        await shared.start()
        lm = await open_lm(settings, owner=owner, flight=shared.flight)
        opened.pop_all()
    cache.install(shared)
    retriever = LazyRetriever(lambda: open_retriever(settings, store=shared.store))
    binding.bind(retriever, k=settings.retrieval_k, owner=owner)
    return Stack(settings=settings, owner=owner, cache=shared, lm=lm, retriever=retriever, callbacks=callbacks)


def _callbacks(paths: str | None) -> list[Any]:
    """Instances of the classes that SLIPWAY_CALLBACKS names. Raises ConfigInvalid."""
    return [_callback(path.strip()) for path in (paths or "").split(",") if path.strip()]


def _callback(path: str) -> Any:
    try:
        return import_attribute(path)()
    except ProgramInvalid as error:
        raise ConfigInvalid(f"SLIPWAY_CALLBACKS: {error.message}", key="SLIPWAY_CALLBACKS") from error
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ConfigInvalid(f"SLIPWAY_CALLBACKS: {path}() failed with {why}", key="SLIPWAY_CALLBACKS") from error
