# SPDX-License-Identifier: Apache-2.0
"""Records a sample of answers, off the request's path.

    recorder = Recorder(TrafficConfig.from_settings(settings))
    recorder(inputs, outputs, receipt, routing_key)     # at once; never blocks, never raises
    await recorder.aclose()

One thread owns this process's segment. It redacts, writes each record as it comes and syncs once a second, so a killed
process loses the record in hand and a lost machine the last second. A volume that is full or hangs costs records, which
are counted (slipway_traffic_records_total), and nothing else: the queue is bounded and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from slipway_server.runtime.types import Receipt
from slipway_server.telemetry import metrics
from slipway_server.traffic.config import TrafficConfig
from slipway_server.traffic.forget import forgotten, scrub
from slipway_server.traffic.framing import frame
from slipway_server.traffic.quality import show_quality
from slipway_server.traffic.record import CONTEXT, Record, sampled
from slipway_server.traffic.retention import drop_old, drop_old_feedback
from slipway_server.traffic.segments import REQUESTS, SegmentWriter

log = logging.getLogger(__name__)

UPKEEP_SECONDS = 3600.0
QUALITY_SECONDS = 60.0


class Recorder:
    """Callable with an answer. `wall`, `monotonic`: clocks in seconds, for tests."""

    def __init__(
        self,
        config: TrafficConfig,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._wall = wall
        self._monotonic = monotonic
        self._queue: queue.Queue[Record | None] = queue.Queue(config.queue_records)
        self._writer = SegmentWriter(config.folder / REQUESTS, wall())
        self._synced = 0.0
        self._blocked_until = 0.0
        self._kept_up = self._shown = float("-inf")
        self._unsynced = False
        self._thread = threading.Thread(target=self._work, name="slipway-traffic", daemon=True)
        self._thread.start()

    def __call__(
        self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], receipt: Receipt, routing_key: str = ""
    ) -> None:
        """Record this answer if its request belongs to the sample."""
        if not sampled(receipt.request_id, self._config.sample):
            return
        try:
            self._queue.put_nowait(Record.of(inputs, outputs, receipt, routing_key, now=self._wall()))
        except queue.Full:
            _count("lost_queue_full")

    async def aclose(self) -> None:
        """Write what waits and close the segment; a volume that hangs is left alone after `close_seconds`, twice."""
        try:
            await asyncio.to_thread(self._queue.put, None, timeout=self._config.close_seconds)
        except queue.Full:
            return
        await asyncio.to_thread(self._thread.join, self._config.close_seconds)

    def _work(self) -> None:
        pause = min(1.0, self._config.sync_seconds)
        while True:
            try:
                record = self._queue.get(timeout=pause)
            except queue.Empty:
                self._guarded(self._tend)
                continue
            if record is None:
                self._guarded(self._close)
                return
            self._guarded(lambda record=record: self._write(record))  # type: ignore[misc]
            self._guarded(self._tend)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever it is, the thread goes on
            self._writer.abandon()
            self._blocked_until = self._monotonic() + self._config.retry_seconds
            reason = getattr(error, "strerror", None) or type(error).__name__
            log.warning("traffic is not recorded for a while: %s", reason)
            _count("failed")

    def _write(self, record: Record) -> None:
        if self._monotonic() < self._blocked_until:
            _count("lost_volume")
            return
        line = self._line(record)
        if line is None:
            return
        self._writer.append(line, record.time)
        self._unsynced = True
        _count("written")

    def _line(self, record: Record) -> bytes | None:
        redactor = self._config.redactor
        values = record.values()
        try:
            values["inputs"] = redactor.fields(record.inputs)
            values["outputs"] = redactor.fields(record.outputs)
            values[CONTEXT] = redactor.text(record.context) if redactor.allows(CONTEXT) else []
            return frame(values)
        except Exception as error:
            log.warning("a record is left out: its redaction raised %s", type(error).__name__)
            _count("lost_redaction")
            return None

    def _tend(self) -> None:
        """Sync, rotate and drop what is too old, each when its time has come."""
        now = self._monotonic()
        if self._unsynced and now - self._synced >= self._config.sync_seconds:
            self._writer.sync()
            self._synced, self._unsynced = now, False
        if self._writer.is_open and (
            self._writer.size_bytes >= self._config.rotate_bytes
            or self._wall() - self._writer.opened >= self._config.rotate_seconds
        ):
            self._close()
        if now - self._kept_up >= UPKEEP_SECONDS and now >= self._blocked_until:
            self._kept_up = now
            drop_old(self._config.folder, self._wall() - self._config.retention_seconds)
            drop_old_feedback(self._config.folder, self._wall(), self._config.feedback_retention_seconds)
        if self._config.loop is not None and now - self._shown >= QUALITY_SECONDS:
            self._shown = now
            show_quality(self._config.loop, self._wall())

    def _close(self) -> None:
        path = self._writer.close()
        self._unsynced = False
        if path is not None:
            scrub(path, forgotten(self._config.folder))


def _count(outcome: str) -> None:
    metrics.TRAFFIC_RECORDS.labels(outcome).inc()
