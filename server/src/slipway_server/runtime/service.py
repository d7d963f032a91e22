# SPDX-License-Identifier: Apache-2.0
"""Runs requests: checks inputs, picks the variant, bounds the run by its deadline, writes the receipt.

service = await open_service(settings, owner)
answer = await service.predict({"question": "…"}, RequestContext(deadline=time.monotonic() + 30))
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy

from slipway_server import request
from slipway_server.cache.memo import AnswerMemo
from slipway_server.config import Settings
from slipway_server.errors import PinUnknown
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import Citation, RequestContext
from slipway_server.runtime.failures import as_slipway_error
from slipway_server.runtime.fields import jsonable
from slipway_server.runtime.imports import import_program
from slipway_server.runtime.receipts import receipt
from slipway_server.runtime.stack import Stack, open_stack
from slipway_server.runtime.types import Answer, ArtifactInfo, Serving
from slipway_server.runtime.variants import STABLE, Variant, build_variant, known_artifacts
from slipway_server.telemetry import metrics

log = logging.getLogger(__name__)


class ProgramService:
    """A Service (runtime/types.py) over one program and its variants."""

    def __init__(self, stack: Stack, variant: Variant, pool: ThreadPoolExecutor) -> None:
        self._stack = stack
        self._stable = variant
        self._pool = pool
        self._dspy = stack.dspy_settings(memoise_prompts=True)
        self._settings = stack.settings
        self._memo = AnswerMemo(stack.cache)
        metrics.VARIANT_INFO.labels(
            self._settings.program, variant.name, variant.artifact.name, variant.artifact.digest
        ).set(1)

    async def predict(
        self, inputs: Mapping[str, Any], context: RequestContext, *, routing_key: str = "", pin: str = ""
    ) -> Answer:
        """Run the program once. Raises SlipwayError; a cancelled call cancels the program."""
        started = time.monotonic()
        variant = self._variant(pin)
        checked = variant.inputs.checked(inputs)
        with request.opened(context):
            outputs = await self._remembered(variant, checked, context)
        elapsed = time.monotonic() - started
        metrics.MODULE_DURATION.labels(variant.name).observe(elapsed)
        return Answer(
            outputs,
            receipt(
                context,
                program=self._settings.program,
                variant=variant.name,
                artifact=variant.artifact,
                model=self._settings.lm_model,
                elapsed_seconds=elapsed,
            ),
        )

    def serving(self) -> Serving:
        """What is served now."""
        return Serving(
            program=self._settings.program,
            fingerprint=self._stable.fingerprint,
            variants=[self._stable.info()],
            collection_version=self._stack.retriever.collection_version,
            input_fields=self._stable.inputs.names,
            output_fields=self._stable.outputs,
        )

    async def artifacts(self) -> Sequence[ArtifactInfo]:
        """The artifacts beside the served one, newest first."""
        return await asyncio.to_thread(known_artifacts, self._settings)

    async def dry_run(self) -> None:
        """Ask every variant once, past the cache. Raises SlipwayError where the deployment cannot answer."""
        for variant in (self._stable,):
            inputs = variant.inputs.probe()
            if inputs is None:
                log.warning("no dry run: the program's inputs have no obvious values", extra={"variant": variant.name})
                continue
            deadline = time.monotonic() + self._settings.dry_run_seconds
            context = RequestContext(request_id=f"dry-run-{variant.name}", deadline=deadline, use_cache=False)
            await self.predict(inputs, context, pin=variant.name)

    async def aclose(self) -> None:
        """Release everything."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._stack.aclose()

    async def _remembered(self, variant: Variant, inputs: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        """The answer memo's outputs and citations, or a run of the program, which is then remembered."""
        digest = variant.artifact.digest
        known = await self._memo.get(digest, inputs, self._stack.retriever.collection_version)
        if known is not None:
            context.account.collection_version = self._stack.retriever.collection_version
            context.account.citations.extend(Citation(*citation) for citation in known["citations"])
            return known["outputs"]
        outputs = await self._run(variant, inputs, context)
        citations = [[cited.passage_id, cited.title, cited.score] for cited in context.account.citations]
        version = context.account.collection_version
        await self._memo.put(digest, inputs, version, {"outputs": outputs, "citations": citations})
        return outputs

    async def _run(self, variant: Variant, inputs: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        with dspy.context(trace=[], **self._dspy):
            try:
                async with asyncio.timeout(context.remaining_seconds()):
                    return jsonable(await variant.invoke(inputs))
            except Exception as error:
                raise as_slipway_error(error, context) from error

    def _variant(self, pin: str) -> Variant:
        known = (self._stable.name, self._stable.artifact.digest)
        if pin and pin not in known:
            raise PinUnknown(
                f"pin '{pin[:80]}' is neither a variant nor the digest of one that is served", pin=pin[:80]
            )
        return self._stable


async def open_service(settings: Settings, owner: OwnerLoop) -> ProgramService:
    """Import the program, verify and load its artifact, open what it needs. Raises SlipwayError."""
    pool = ThreadPoolExecutor(settings.sync_workers, "slipway-program")
    variant = await asyncio.to_thread(lambda: build_variant(STABLE, import_program(settings.program), settings, pool))
    return ProgramService(await open_stack(settings, owner), variant, pool)
