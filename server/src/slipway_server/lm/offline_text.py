# SPDX-License-Identifier: Apache-2.0
"""Words, sentences, names, dates and numbers in English text, by patterns; for the extractive reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

LONGEST_SENTENCE = 1000
"""Text without sentence ends is cut to pieces of so many characters, so that time grows with length and no faster."""
_FUNCTION_WORDS = """
a an and are as at be been being but by can could did do does during for from had has have he her his how i if in
into is it its may more most of on one or other over she so than that the their them then there these they this
those to under was we were what when where which while who whom whose why will with would you your both same also
between after before about up out such not no any all
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
WORD = re.compile(r"[^\W_]+(?:['’\-.][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]*\s+(?=[\"“'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|vs|No|Mt|Prof|Gen|Col|Capt|Lt|Inc|Co|Ltd|approx|ca|c|b))\.$"
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = re.compile(
    rf"(?:\d{{1,2}} (?:{_MONTHS})(?: \d{{4}})?|(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?|(?:{_MONTHS}) \d{{4}}"
    r"|\b1\d{3}s?\b|\b20\d{2}s?\b)"
)
UNIT = re.compile(r" (?!and\b|or\b|of\b|in\b|to\b|by\b|on\b|at\b|is\b|was\b)[a-z]+(?: per [a-z]+| an hour)?")
WEEKDAY = re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")
MONTH = re.compile(rf"\b(?:{_MONTHS})\b")
YEAR = re.compile(r"\b(?:1\d{3}|20\d{2})\b")
_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|twenty|thirty|forty|fifty|hundred"
)
NUMBER = re.compile(rf"\b\d[\d,]*(?:\.\d+)?(?: (?:million|billion|percent))?|\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
_NAME_WORD = r"(?:[A-Z][\w'’&\-]*(?:\.(?=\s[A-Z]|\w))?(?:[A-Z]\.)*)"
_JOINED = r"(?:,? (?:of the|of|and the|the|de|la|van|von|der|du|del|for|on|&) |, (?=[A-Z]\w+,)| | \d+ )"
_NAME = re.compile(rf"{_NAME_WORD}(?:{_JOINED}{_NAME_WORD}|(?: \d+\b))*")
QUOTED = re.compile(r"[\"“]([^\"”]{2,80})[\"”]")


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A word's rough stem: lower case, without the commonest English endings."""
    word = word.lower().replace("’", "'").removesuffix("'s").strip("'")
    for ending in ("ingly", "edly", "ing", "ies", "ied", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
    return word.removesuffix("e") if len(word) > 4 else word


def words(text: str) -> list[str]:
    """The words of a text, as written."""
    return WORD.findall(text)


def terms(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in WORD.findall(text) if word.lower() not in STOPWORDS]


def split_sentences(text: str) -> list[str]:
    """Sentences of a text; an abbreviation's or initial's full stop ends none."""
    pieces: list[str] = []
    for line in text.splitlines():
        start = 0
        for end in _SENTENCE_END.finditer(line):
            if not _ABBREVIATION.search(line[max(start, end.start() - 8) : end.start()]):
                pieces.append(line[start : end.start()].strip())
                start = end.end()
        pieces.append(line[start:].strip())
    return [piece[at : at + LONGEST_SENTENCE] for piece in pieces for at in range(0, len(piece), LONGEST_SENTENCE)]


def find_names(text: str) -> Iterator[tuple[str, int]]:
    """Capitalised names with their places, without a sentence's leading article."""
    for match in _NAME.finditer(text):
        name, start = _without_article(match[0], match.start())
        if name:
            yield name, start


def names(text: str) -> list[str]:
    """Capitalised names, in order."""
    return [name for name, _ in find_names(text)]


def _without_article(name: str, start: int) -> tuple[str, int]:
    first, _, rest = name.partition(" ")
    if first.lower() in STOPWORDS:
        return rest, start + len(first) + 1
    return name.rstrip(".,").removesuffix("'s").removesuffix("’s"), start
