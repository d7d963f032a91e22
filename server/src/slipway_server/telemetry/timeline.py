# SPDX-License-Identifier: Apache-2.0
"""One request's way through the server, out of the structured logs of however many pods.

    for found in timelines(events_of(lines, "8f1c…"), "8f1c…"):
        found.steps, found.shares

At level info a request leaves its access event and whatever was unusual: long waits, failed attempts, pauses, refusals,
answers that could not be parsed. At level debug every cache look-up, search and attempt is there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

ACCESS = "rpc"
_KNOWN = frozenset({"ts", "level", "logger", "event", "request_id", "error"})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log. `source`: what stood before the JSON, such as the pod's name."""

    at: datetime
    name: str
    level: str
    fields: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`offset_seconds` after the request's start the step had ended. `what` is the event's name."""

    offset_seconds: float
    what: str
    words: str
    level: str
    source: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One RPC. `shares`: seconds by what they went to, calls in parallel each. `seconds` None: no access event."""

    request_id: str
    started: datetime
    seconds: float | None
    code: str
    steps: Sequence[Step]
    shares: Mapping[str, float]


def events_of(lines: Iterable[str], request_id: str) -> list[Event]:
    """The events of one request, oldest first. What is no JSON, or of another request, is passed over."""
    found = []
    for line in lines:
        if request_id in line and (event := _parsed(line, request_id)) is not None:
            found.append(event)
    return sorted(found, key=lambda event: event.at)


def timelines(events: Sequence[Event], request_id: str) -> list[Timeline]:
    """One for each RPC with this id: a client that tries again uses the same one."""
    groups: list[list[Event]] = [[]]
    for event in events:
        groups[-1].append(event)
        if event.name == ACCESS:
            groups.append([])
    if not groups[-1] or len(groups) > 1:
        late = groups.pop()
        if groups:
            groups[-1] += late  # what a shadow does after the answer
    return [_timeline(group, request_id) for group in groups]


def _parsed(line: str, request_id: str) -> Event | None:
    start = line.find("{")
    try:
        row = orjson.loads(line[start:]) if start >= 0 else None
        if not isinstance(row, dict) or row.get("request_id") != request_id:
            return None
        at = datetime.fromisoformat(row["ts"])
        # Ours say UTC; another program's line with the same id may say nothing.
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        fields = {key: value for key, value in row.items() if key not in _KNOWN}
        return Event(at, str(row["event"]), str(row.get("level", "")), fields, line[:start].strip())
    except (ValueError, KeyError, TypeError):
        return None


def _timeline(events: Sequence[Event], request_id: str) -> Timeline:
    access = next((event for event in events if event.name == ACCESS), None)
    seconds = _number(access.fields.get("elapsed_seconds")) if access else None
    started = _before(access.at, seconds or 0.0) if access else events[0].at
    steps = [
        Step(max(0.0, (event.at - started).total_seconds()), event.name, words_of(event), event.level, event.source)
        for event in events
    ]
    code = str(access.fields.get("code", "")) if access else ""
    shares = _shares(access.fields, seconds or 0.0) if access else {}
    return Timeline(request_id, started, seconds, code, steps, shares)


def _before(moment: datetime, seconds: float) -> datetime:
    try:
        return moment - timedelta(seconds=seconds)
    except OverflowError:  # another program's line with the same id: no request takes that long
        return moment


def _shares(fields: Mapping[str, Any], total: float) -> dict[str, float]:
    """Where the time went, largest first; the rest is the program, and the server around it."""
    waits = {f"waiting: {_WAITS.get(kind, kind)}": value for kind, value in _numbers(fields.get("waits_seconds"))}
    spent = {_SPENT.get(kind, kind): value for kind, value in _numbers(fields.get("spent_seconds"))}
    known = {**waits, **spent}
    known["program and server"] = max(0.0, total - sum(known.values()))
    return dict(sorted(known.items(), key=lambda item: -item[1]))


_WAITS = {
    "queue": "others first",
    "pacing": "the provider's quota",
    "slot": "a free slot",
    "retry": "pauses between attempts",
    "cache_lease": "an identical call",
}
_SPENT = {"lm": "the LM", "retrieval": "retrieval"}


def words_of(event: Event) -> str:
    """What an event says, for people."""
    words = _WORDS.get(event.name, _others)
    return words(event.fields)


def _access(fields: Mapping[str, Any]) -> str:
    parts = [f"{fields.get('method', '')}: {fields.get('code', '')} after {_seconds(fields.get('elapsed_seconds'))}"]
    if fields.get("reason"):
        parts.append(f"{fields['reason']}: {fields.get('detail', '')}")
    if fields.get("variant"):
        parts.append(f"variant {fields['variant']}" + (f" ({fields['artifact']})" if fields.get("artifact") else ""))
    if isinstance(fields.get("cache"), dict):
        parts.append("cache " + ", ".join(f"{tier} {count}" for tier, count in fields["cache"].items()))
    counts = [_counted(fields[key], word) for key, word in _COUNTS.items() if fields.get(key)]
    return "; ".join([*parts, *([", ".join(counts)] if counts else [])])


_COUNTS = {
    "lm_calls": "LM call",
    "attempts": "attempt",
    "prompt_tokens": "prompt token",
    "completion_tokens": "completion token",
}


def _wait(fields: Mapping[str, Any]) -> str:
    waits = [f"{_WAITS.get(kind, kind)} {_seconds(value)}" for kind, value in _numbers(fields)]
    return f"waited for {', '.join(waits)}{_class(fields)}"


def _attempt(fields: Mapping[str, Any]) -> str:
    return f"{fields.get('outcome', '')} after {_seconds(fields.get('seconds'))}{_class(fields)}"


def _retrieval(fields: Mapping[str, Any]) -> str:
    queries = fields.get("queries", 0)
    asked = f"{queries} quer{'y' if queries == 1 else 'ies'}"
    place = f"{fields.get('collection_version', '')}, {_seconds(fields.get('seconds'))}"
    return f"{_counted(fields.get('passages', 0), 'passage')} for {asked} in {place}"


def _others(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fields.items())


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    ACCESS: _access,
    "lm wait": _wait,
    "lm attempt": _attempt,
    "lm pause": lambda fields: f"{_seconds(fields.get('seconds'))} before the next attempt",
    "lm refused": lambda fields: f"without an attempt: {fields.get('reason', '')}{_class(fields)}",
    "cache": lambda fields: f"{fields.get('kind', '')}: {fields.get('tier', '')}",
    "retrieval": _retrieval,
    "retrieval failed": lambda fields: f"{fields.get('reason', '')} after {_seconds(fields.get('seconds'))}",
    "parse retry": lambda fields: f"the answer had not the fields {fields.get('fields', '')}; asked once more",
}


def _counted(number: Any, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _class(fields: Mapping[str, Any]) -> str:
    """Whose turn it was, where it is not a caller's: a shadow runs under its request's id."""
    return "" if fields.get("class") in (None, "interactive") else f" ({fields['class']})"


def _numbers(fields: Any) -> Iterator[tuple[str, float]]:
    for key, value in fields.items() if isinstance(fields, dict) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _seconds(value: Any) -> str:
    number = _number(value)
    return f"{number:.2f} s" if number >= 1 else f"{1000 * number:.0f} ms"
