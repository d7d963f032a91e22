# SPDX-License-Identifier: Apache-2.0
"""Structured logs on standard error: one event per line, with the request id of whoever is being worked for.

    log = logging.getLogger(__name__)
    log.info("rpc", extra={"method": "Predict", "code": "OK", "elapsed_seconds": 0.31})

The message is the event's name; everything else is a field in `extra`. JSON for machines, text for people.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import orjson

from slipway_server import request

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    context = request.current_or_none()
    if context is not None:
        fields.setdefault("request_id", context.request_id)
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, event, fields, and the traceback as `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # Half a surrogate pair, as of an emoji that a provider cut, or a number beyond 64 bits.
            text = json.dumps(line, default=str, skipkeys=True, ensure_ascii=False)
            return text.encode("utf-8", "replace").decode()


class TextFormatter(logging.Formatter):
    """Time, level, event and key=value fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={' '.join(str(value).split())}" for key, value in _fields(record).items())
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{moment} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str = "info", style: Literal["json", "text"] = "text") -> None:
    """Send Slipway's logs, and others' warnings, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("slipway_server").setLevel(level.upper())


def adopt(library: str) -> None:
    """Send a library's warnings the same way, where it has set up handlers of its own when it was imported."""
    logger = logging.getLogger(library)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
