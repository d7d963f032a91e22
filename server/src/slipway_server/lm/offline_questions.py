# SPDX-License-Identifier: Apache-2.0
"""What kind of answer a question asks for, by its words; for the extractive reader."""

from __future__ import annotations

import re
from typing import Literal

from slipway_server.lm.offline_text import DATE, MONTH, NUMBER, WEEKDAY, YEAR

Kind = Literal["yes-no", "choice", "date", "number", "measure", "person", "place", "name"]

_AUXILIARY = re.compile(r"^(?:are|is|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE)
EARLIER = re.compile(r"\b(?:first|older|oldest|earlier|earliest|before)\b", re.IGNORECASE)
LATER = re.compile(r"\b(?:later|latest|newer|younger|youngest|last|recent|recently)\b", re.IGNORECASE)
MORE = re.compile(r"\b(?:more|most|larger|largest|bigger|higher|greater|longer|taller)\b", re.IGNORECASE)
_PERSONS = "actor|actress|singer|director|author|man|woman|person|player|writer|president|musician|politician"
_PLACES = "city|country|state|town|county|place|village|continent|region|province|island"
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("number", re.compile(r"\bhow (?:many|much|old|large|big)\b|\bwhat (?:number|age|percentage|population)\b")),
    (
        "measure",
        re.compile(r"\bhow (?:long|high|far|tall|deep|wide|heavy|fast|often)\b|\bhow much \w+ .{0,80}\b(?:weigh|cost)"),
    ),
    ("date", re.compile(r"\bwhen\b|\b(?:what|which|in) (?:\w+ )?(?:year|date|day|month|decade|century)\b")),
    ("person", re.compile(rf"\bwho(?:m|se)?\b|\b(?:what|which) (?:\w+ ){{0,2}}(?:{_PERSONS})\b")),
    ("place", re.compile(rf"\bwhere\b|\b(?:what|which) (?:\w+ ){{0,2}}(?:{_PLACES})\b")),
)


def question_kind(question: str) -> Kind:
    """What an answer to the question would be."""
    lowered = question.lower().strip()
    if _AUXILIARY.match(lowered):
        return "yes-no"
    if alternatives(question) and re.search(r"\b(?:which|who|what)\b", lowered):
        return "choice"
    found = [(match.start(), kind) for kind, pattern in _KINDS if (match := pattern.search(lowered))]
    return min(found)[1] if found else "name"


def alternatives(question: str) -> tuple[str, str] | None:
    """What stands before and after the last "or" of a question, up to the next comma."""
    before, found, after = question.rstrip(" ?").rpartition(" or ")
    left = re.split("[,?]", before.rstrip(", "))[-1].strip()
    right = after.strip().removeprefix("the ")
    return (left, right) if found and left and right and not re.search("[,?]", right) else None


def value_pattern(kind: Kind, question: str) -> re.Pattern[str]:
    """What a date or number in the answer looks like; `question` in lower case."""
    if kind != "date":
        return NUMBER
    if "day of the week" in question or "weekday" in question:
        return WEEKDAY
    if "month" in question:
        return MONTH
    return YEAR if "year" in question else DATE


def compares(question: str) -> bool:
    """Whether it asks for the earlier, later or larger one."""
    return bool(EARLIER.search(question) or LATER.search(question) or MORE.search(question))
