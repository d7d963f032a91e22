# SPDX-License-Identifier: Apache-2.0
"""What may be stored of an answer: allowed fields first, then patterns.

    redactor = Redactor(["question", "answer"], [patterns])
    redactor.fields({"question": "call +44 20 7946 0958", "note": "…"})     # {"question": "call <phone>"}

A hook is any `module:function` from text to text; it sees every text below an allowed field. A hook that raises loses
the record, never the redaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slipway_server.runtime.imports import import_attribute

Hook = Callable[[str], str]
ALL = "*"

_PATTERNS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("<email>", re.compile(r"[\w.+-]{1,64}+@[\w-]++(?:\.[\w-]++)+")),
    ("<iban>", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("<card>", re.compile(r"\b\d(?:[ -]?\d){12,18}\b")),
    ("<ip>", re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")),
    ("<phone>", re.compile(r"(?<![\w.])\+?\(?\d{1,4}\)?(?:[ .\-/]\(?\d{2,4}\)?){2,4}\b")),
    ("<key>", re.compile(r"\b(?:sk|pk|ghp|xox[abp])[-_][A-Za-z0-9_-]{16,}\b")),
)
"""Best effort: they find what has a form. Names of people have none; use a hook for them.

No repetition before a character that must follow is without a limit (64 is RFC 5321's for what is before the @): where
that character is missing the search would take the square of the text's length, and hold up the whole process.
"""


def patterns(text: str) -> str:
    """`text` with e-mail addresses, IBANs, card and phone numbers, IP addresses and API keys replaced by their kind."""
    for kind, pattern in _PATTERNS:
        text = pattern.sub(kind, text)
    return text


def hooks_named(names: str) -> list[Hook]:
    """`patterns` and `module:function`, comma-separated, in this order. Raises ProgramInvalid."""
    return [
        patterns if name == "patterns" else import_attribute(name)
        for name in (part.strip() for part in names.split(","))
        if name
    ]


class Redactor:
    """Keeps allowed fields and runs every text in them through the hooks. No field is allowed by default."""

    def __init__(self, allowed: Sequence[str], hooks: Sequence[Hook]) -> None:
        self._allowed = frozenset(allowed)
        self._hooks = hooks

    def allows(self, field: str) -> bool:
        """Whether a field may be stored."""
        return ALL in self._allowed or field in self._allowed

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The allowed fields, redacted."""
        return {name: self.text(value) for name, value in values.items() if self.allows(name)}

    def text(self, value: Any) -> Any:
        """`value` with each text in it redacted."""
        if isinstance(value, str):
            for hook in self._hooks:
                value = hook(value)
            return value
        if isinstance(value, Mapping):
            return {key: self.text(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.text(item) for item in value]
        return value
