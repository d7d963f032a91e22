# SPDX-License-Identifier: Apache-2.0
"""Feedback on answers: its own stream, never sampled, stored once per id.

    store = FeedbackStore(folder, redactor)
    duplicate = await store.submit(feedback)        # runtime.types.Feedback

Each piece is a file named by the hash of its id, so that the same one through two servers is stored once. It is on the
volume before the caller hears of it; where that cannot be done
the caller is told to try again.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson

from slipway_server.cache.workers import Workers
from slipway_server.errors import FeedbackUnavailable, RequestInvalid
from slipway_server.runtime.types import Feedback as Given
from slipway_server.telemetry import metrics
from slipway_server.traffic.once import write_once
from slipway_server.traffic.record import pseudonym
from slipway_server.traffic.redact import Redactor
from slipway_server.traffic.segments import Damage

FEEDBACK = "feedback"
SHARD = "[0-9a-f]" * 2
"""Pattern of the folders that pieces lie in, by the first two digits of their names."""
TIMEOUT_SECONDS = 5.0
THREADS = 2
MOST_WAITING = 100


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback as it is stored: `routing` is the pseudonym of the routing key, `time` seconds since the epoch."""

    feedback_id: str
    request_id: str
    time: float
    rating: str = ""
    comment: str = ""
    correct_outputs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    routing: str = ""

    @classmethod
    def of(cls, given: Given, *, now: float) -> Feedback:
        """What is to be stored of a caller's feedback."""
        return cls(
            feedback_id=given.feedback_id,
            request_id=given.request_id,
            time=now,
            rating=given.rating,
            comment=given.comment,
            correct_outputs=dict(given.correct_outputs),
            inputs=dict(given.inputs),
            outputs=dict(given.outputs),
            digest=given.artifact_digest,
            routing=pseudonym(given.routing_key),
        )


class FeedbackStore:
    """Stores feedback below `folder`. `wall`: clock in seconds since the epoch, for tests."""

    def __init__(self, folder: Path, redactor: Redactor, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._folder = folder / FEEDBACK
        self._redactor = redactor
        self._workers = Workers("slipway-feedback", threads=THREADS, backlog=MOST_WAITING)

    async def submit(self, given: Given) -> bool:
        """Store it; returns whether it was stored before.

        Raises:
            RequestInvalid: It has no feedback_id or no request_id.
            FeedbackUnavailable: The volume is full or hangs; the same call may be repeated.
        """
        for name in ("feedback_id", "request_id"):
            if not getattr(given, name):
                raise RequestInvalid(f"the field {name} is empty", field=name)
        try:
            work = self._workers.submit(self._store, Feedback.of(given, now=self._wall()))
            duplicate = await asyncio.wait_for(asyncio.wrap_future(work), TIMEOUT_SECONDS)
        except (queue.Full, TimeoutError):
            raise self._unavailable("hangs") from None
        except OSError as error:
            raise self._unavailable(f"fails ({os.strerror(error.errno or 0).lower()})") from None
        metrics.FEEDBACK.labels(given.rating or "unrated", "duplicate" if duplicate else "stored").inc()
        return duplicate

    def close(self) -> None:
        """Give the threads back; one that a hanging volume holds does not keep the process from ending."""
        self._workers.close()

    def _store(self, feedback: Feedback) -> bool:
        path = feedback_path(self._folder, feedback.feedback_id)
        if path.exists():
            return True
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return not write_once(path, orjson.dumps(asdict(self._redacted(feedback))), mode=0o600)

    def _redacted(self, feedback: Feedback) -> Feedback:
        redactor = self._redactor
        return replace(
            feedback,
            comment=redactor.text(feedback.comment),
            correct_outputs=redactor.fields(feedback.correct_outputs),
            inputs=redactor.fields(feedback.inputs),
            outputs=redactor.fields(feedback.outputs),
        )

    @staticmethod
    def _unavailable(how: str) -> FeedbackUnavailable:
        return FeedbackUnavailable(
            f"the feedback is not stored: its volume {how}; send it again", retry_after_seconds=5
        )


def feedback_path(folder: Path, feedback_id: str) -> Path:
    """The file of one piece of feedback."""
    name = hashlib.sha256(feedback_id.encode()).hexdigest()
    return folder / name[:2] / f"{name[2:]}.json"


def read_feedback(folder: Path, since: float = 0.0, until: float = math.inf) -> list[Feedback]:
    """Feedback with since <= time < until below a traffic folder, by time; unreadable files are left out."""
    known = {item.name for item in fields(Feedback)}
    found = [
        Feedback(**{key: value for key, value in values.items() if key in known})
        for _, values in _files(folder / FEEDBACK, Damage())
        if since <= values["time"] < until
    ]
    return sorted(found, key=lambda item: (item.time, item.feedback_id))


def forget_feedback(folder: Path, routing: str, damage: Damage) -> int:
    """Remove the feedback of one pseudonym; returns how much. Files that cannot be read are counted in `damage`."""
    mine = [path for path, values in _files(folder / FEEDBACK, damage) if values.get("routing") == routing]
    for path in mine:
        path.unlink(missing_ok=True)
    return len(mine)


def _files(folder: Path, damage: Damage) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob(f"{SHARD}/*.json")):
        try:
            values = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, orjson.JSONDecodeError):
            damage.unreadable += 1
            continue
        if isinstance(values, dict) and {"feedback_id", "request_id", "time"} <= values.keys():
            yield path, values
