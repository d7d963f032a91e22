# SPDX-License-Identifier: Apache-2.0
"""Runs requests: checks inputs, picks the variant, bounds the run by its deadline, writes the receipt.

service = await open_service(settings, owner)
answer = await service.predict({"question": "…"}, RequestContext(deadline=time.monotonic() + 30))
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from typing import Any

import dspy

from slipway_server import request
from slipway_server.artifacts.surroundings import same_collection
from slipway_server.cache.memo import AnswerMemo
from slipway_server.cache.memory import Held
from slipway_server.config import Settings
from slipway_server.errors import FailureError, MethodUnsupported, PinUnknown
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import Citation, RequestContext
from slipway_server.runtime.failures import as_slipway_error
from slipway_server.runtime.fields import jsonable
from slipway_server.runtime.imports import import_program
from slipway_server.runtime.keeper import SlotKeeper
from slipway_server.runtime.prewarm import load_questions, prewarm
from slipway_server.runtime.receipts import from_cache, receipt
from slipway_server.runtime.remembered import Known, RememberedAnswer
from slipway_server.runtime.shadow import Shadow, ShadowRun
from slipway_server.runtime.stack import Stack, open_stack
from slipway_server.runtime.types import Answer, ArtifactInfo, Feedback, Own, Receipt, Recorder, Serving, TakeFeedback
from slipway_server.runtime.variants import Variant, build_variant, known_artifacts, sources
from slipway_server.telemetry import metrics

log = logging.getLogger(__name__)


class ProgramService:
    """A Service (runtime/types.py) over one program and its variants."""

    def __init__(
        self,
        stack: Stack,
        program_class: type[Any],
        recorder: Recorder | None = None,
        feedback: TakeFeedback | None = None,
    ) -> None:
        self._stack = stack
        self._recorder = recorder
        self._feedback = feedback
        self._settings = stack.settings
        self._pool = ThreadPoolExecutor(self._settings.sync_workers, "slipway-program")
        self._dspy = stack.dspy_settings(memoise_prompts=True)
        self._memo = AnswerMemo(stack.cache)
        self._shadow = Shadow(self._run, self._record_shadow)
        self._keeper = SlotKeeper(
            self._settings,
            build=lambda source: build_variant(source, program_class, self._settings, self._pool),
            prove=self._prove,
        )
        self._following: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Build the variants and begin to watch. Raises SlipwayError."""
        await self._keeper.open()
        looks = [self._keeper.follow_routing] if self._settings.routing_dir else []
        looks += [self._keeper.follow_artifacts] if self._settings.hot_reload else []
        self._following = [asyncio.create_task(self._follow(look), name="slipway-follow") for look in looks]

    async def predict(
        self, inputs: Mapping[str, Any], context: RequestContext, *, routing_key: str = "", pin: str = ""
    ) -> Answer:
        """Run the program once. Raises SlipwayError; a cancelled call cancels the program."""
        variant = self._chosen(routing_key, pin, context)
        checked = variant.inputs.checked(inputs)
        try:
            answer = await self._answer(variant, checked, context)
        except FailureError:
            self._keeper.observe(variant, failed=True, latency_seconds=None)
            raise
        except asyncio.CancelledError:
            if request.is_over(context.remaining_seconds()):
                self._keeper.observe(variant, failed=True, latency_seconds=None)
            raise
        if isinstance(answer, RememberedAnswer) and not context.pin:
            facts = (variant.artifact.digest, context.account.collection_version, checked, routing_key, pin)
            answer.again = partial(self._again, Known(answer.key, *facts))
        latency_seconds = None if from_cache(context.account.cache_tiers) else answer.receipt.elapsed_seconds
        self._answered(variant, answer, latency_seconds, checked, routing_key, context)
        return answer

    def _chosen(self, routing_key: str, pin: str, context: RequestContext) -> Variant:
        variant = self._keeper.slots.choose(routing_key or context.request_id, pin)
        account = context.account
        account.variant = variant.name
        account.artifact, account.artifact_digest = variant.artifact.name, variant.artifact.digest
        return variant

    def _again(self, known: Known, context: RequestContext) -> Answer | None:
        """The answer to another, equal request, where it is what `predict` would find in memory."""
        started = time.monotonic()
        try:
            variant = self._chosen(known.routing_key, known.pin, context)
        except PinUnknown:
            return None
        now = (variant.artifact.digest, self._stack.retriever.collection_version)
        if context.pin or now != (known.artifact_digest, known.collection_version):
            return None
        remembered = self._memo.again(known.key, context.account)
        if remembered is None:
            return None
        answer = self._recalled(remembered, variant, known.collection_version, context, started)
        self._answered(variant, answer, None, known.inputs, known.routing_key, context)
        return answer

    def _answered(
        self,
        variant: Variant,
        answer: Answer,
        latency_seconds: float | None,
        inputs: dict[str, Any],
        routing_key: str,
        context: RequestContext,
    ) -> None:
        """Tell of an answer all who want to know. `latency_seconds`: None where a cache had a part in it."""
        self._keeper.observe(variant, failed=False, latency_seconds=latency_seconds)
        if self._recorder is not None:
            self._recorder(inputs, answer.outputs, answer.receipt, routing_key)
        slots = self._keeper.slots
        if slots.shadow is not None and slots.routing.samples_shadow(context.request_id):
            # Programs may change what they are given, and equal requests share their inputs.
            self._shadow.start(slots.shadow, deepcopy(inputs), context.request_id, routing_key)

    async def submit_feedback(self, feedback: Feedback) -> bool:
        """Store feedback. Raises MethodUnsupported where nothing is recorded, FeedbackUnavailable, RequestInvalid."""
        if self._feedback is None:
            raise MethodUnsupported("this deployment does not store feedback; SLIPWAY_TRAFFIC_DIR is not set")
        return await self._feedback(feedback)

    def serving(self) -> Serving:
        """What is served now."""
        slots = self._keeper.slots
        return Serving(
            program=self._settings.program,
            fingerprint=slots.stable.fingerprint,
            variants=slots.infos(),
            collection_version=self._stack.retriever.collection_version,
            input_fields=slots.stable.inputs.names,
            output_fields=slots.stable.outputs,
        )

    async def artifacts(self) -> Sequence[ArtifactInfo]:
        """The artifacts beside the served one, newest first."""
        return await asyncio.to_thread(known_artifacts, self._settings)

    async def dry_run(self) -> None:
        """Ask every variant once, past the cache, then warm it; raises a SlipwayError where one cannot answer."""
        for variant in self._keeper.slots.variants.values():
            await self._prove(variant)

    async def aclose(self) -> None:
        """Release everything."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._shadow.aclose()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._stack.aclose()

    async def _answer(self, variant: Variant, inputs: dict[str, Any], context: RequestContext) -> Answer:
        started = time.monotonic()
        with request.opened(context):
            version = self._stack.retriever.collection_version
            remembered = await self._memo.get(variant.artifact.digest, inputs, version)
            if remembered is not None:
                return self._recalled(remembered, variant, version, context, started)
            outputs = await self._first_run(variant, inputs, version, context)
        elapsed = time.monotonic() - started
        metrics.MODULE_DURATION.labels(variant.name).observe(elapsed)
        return Answer(outputs, self._receipt(variant, context, elapsed))

    def _recalled(
        self, remembered: Held, variant: Variant, version: str, context: RequestContext, started: float
    ) -> RememberedAnswer:
        context.account.collection_version = version
        own = Own(context.request_id, variant.artifact.name, variant.name, time.monotonic() - started)
        return RememberedAnswer(remembered, own, partial(self._receipt, variant, context, own.elapsed_seconds))

    def _receipt(self, variant: Variant, context: RequestContext, elapsed_seconds: float) -> Receipt:
        return receipt(
            context,
            program=self._settings.program,
            variant=variant.name,
            artifact=variant.artifact,
            model=self._settings.lm_model,
            elapsed_seconds=elapsed_seconds,
        )

    def _record_shadow(self, run: ShadowRun) -> None:
        if self._recorder is not None:
            written = self._receipt(run.variant, run.context, run.elapsed_seconds)
            self._recorder(run.inputs, run.outputs, written, run.routing_key)

    async def _first_run(
        self, variant: Variant, inputs: dict[str, Any], version: str, context: RequestContext
    ) -> dict[str, Any]:
        """A run of the program on a collection of this version; outputs and citations are then remembered."""
        outputs = await self._run(variant, inputs, context)
        now = self._stack.retriever.collection_version
        if version in ("", now):  # empty before the first search; else the collection has moved under this run
            citations = [self._remembered_citation(cited) for cited in context.account.citations]
            await self._memo.put(variant.artifact.digest, inputs, now, {"outputs": outputs, "citations": citations})
        return outputs

    def _remembered_citation(self, cited: Citation) -> list[Any]:
        """With its text where answers are recorded: a judge of remembered answers needs it, too."""
        text = [cited.text] if self._recorder is not None else []
        return [cited.passage_id, cited.title, cited.score, *text]

    async def _run(self, variant: Variant, inputs: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        with dspy.context(trace=[], **self._dspy):
            try:
                async with asyncio.timeout(context.remaining_seconds()):
                    return jsonable(await variant.invoke(inputs))
            except Exception as error:
                raise as_slipway_error(error, context) from error

    async def _prove(self, variant: Variant) -> None:
        """A dry run past the cache, then the pre-warming."""
        settings = self._settings
        inputs = variant.inputs.probe()
        if inputs is None:
            log.warning("no dry run: the program's inputs have no obvious values", extra={"variant": variant.name})
        else:
            deadline = time.monotonic() + settings.dry_run_seconds
            await self._answer(variant, inputs, RequestContext(f"dry-run-{variant.name}", deadline, use_cache=False))
            self._compare_collection(variant)
        if settings.prewarm_file is not None:
            names = variant.inputs.names
            questions = await asyncio.to_thread(
                lambda path: load_questions(path, names, limit=settings.prewarm_limit), settings.prewarm_file
            )

            async def run(inputs: dict[str, Any], context: RequestContext) -> None:
                await self._answer(variant, variant.inputs.checked(inputs), context)

            await prewarm(run, questions, budget_seconds=settings.prewarm_seconds)

    def _compare_collection(self, variant: Variant) -> None:
        """Warn of another collection than the compiled one; which it is, is known once it was searched."""
        retriever = self._stack.retriever
        for finding in same_collection(variant.compiled_with, retriever.collection_version, retriever.embedder_name):
            facts = {"artifact": variant.artifact.name, "check": finding.code, "detail": finding.message}
            log.warning("artifact warning", extra=facts)

    async def _follow(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._settings.watch_seconds)
            try:
                await look()
            except Exception:
                log.exception("following failed")


async def open_service(
    settings: Settings, owner: OwnerLoop, *, recorder: Recorder | None = None, feedback: TakeFeedback | None = None
) -> ProgramService:
    """Import the program, verify and load its artifacts, open what it needs. Raises SlipwayError.

    `recorder` hears of every answer but those of dry runs; `feedback` stores what end users say.
    """
    program_class = await asyncio.to_thread(import_program, settings.program)
    sources(settings)
    service = ProgramService(await open_stack(settings, owner), program_class, recorder, feedback)
    try:
        await service.open()
    except BaseException:
        await service.aclose()
        raise
    return service
