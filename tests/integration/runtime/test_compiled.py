# SPDX-License-Identifier: Apache-2.0
"""A compiled program of any kind is served from its artifact, without a change to its class."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compiling import compiled

from slipway_server.config import Settings
from slipway_server.request import RequestContext

QUESTION = {"question": "In which year was Port Callow founded?"}


@pytest.mark.parametrize("kind", ["TutorialRAG", "TwoHop", "Agent", "AsyncOnly"])
async def test_it_answers_from_its_artifact(
    settings_with: Callable[..., Settings], serving: Any, tmp_path: Path, kind: str
) -> None:
    settings = settings_with(program=f"programs:{kind}")
    few_shot = {"optimizer": "labeled-few-shot", "settings": {"k": 4}}
    outcome = await asyncio.to_thread(compiled, settings, tmp_path, **few_shot)
    async with serving(settings_with(program=f"programs:{kind}", artifact=outcome.path)) as service:
        await service.dry_run()
        first, second = [await service.predict(QUESTION, RequestContext()) for _ in range(2)]
    assert first.receipt.artifact_digest == outcome.manifest.digest
    assert first.receipt.prompt_tokens > 0
    assert first.outputs["answer"]
    assert second.outputs == first.outputs
    assert (second.receipt.cache, second.receipt.attempts) == ("memory", 0)
    async with serving(settings) as service:
        uncompiled = await service.predict(QUESTION, RequestContext())
    assert first.receipt.prompt_tokens > uncompiled.receipt.prompt_tokens, "the demos are in the prompt"
