# SPDX-License-Identifier: Apache-2.0
"""Finds the part of some passages that answers a question: a sentence by lexical overlap, then a span in it.

    finding = find_answer("Who wrote Walden?", ["Walden | Walden is a book by Henry David Thoreau."])
    finding.span, finding.sentence      # "Henry David Thoreau", "Walden is a book by Henry David Thoreau."

Words weigh by their inverse document frequency over the sentences at hand (Spärck Jones, 1972). The span is the
candidate of the question's kind (a person, a place, a date, a number, a name, yes or no, one of two) that stands
closest to the question's words and is not among them. Deterministic, no model, no network.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from slipway_server.lm.offline_questions import (
    EARLIER,
    LATER,
    MORE,
    Kind,
    alternatives,
    compares,
    question_kind,
    value_pattern,
)
from slipway_server.lm.offline_text import (
    NUMBER,
    QUOTED,
    STOPWORDS,
    UNIT,
    WORD,
    YEAR,
    find_names,
    names,
    split_sentences,
    stem,
    terms,
)

MOST_BRIDGES = 50
"""Titles beyond so many are not looked for in other passages."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`sentence` is what the answer was read from, `span` its short form, `passage` the index of its passage."""

    span: str
    sentence: str
    passage: int


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    title: str
    passage: int
    first: bool
    words: frozenset[str]


@lru_cache(maxsize=2048)
def _passage_sentences(passage: str) -> tuple[str, tuple[tuple[str, frozenset[str]], ...]]:
    title, mark, text = passage.partition(" | ")
    if not mark or len(title) > 200:
        title, text = "", passage
    parts = [part for part in split_sentences(text) if part]
    return title.strip(), tuple((part, frozenset(terms(part))) for part in parts)


def find_answer(question: str, passages: Sequence[str]) -> Finding | None:
    """The best sentence and span for the question; None where the passages have no sentence."""
    reading = _Reading(question, passages)
    if not reading.sentences:
        return None
    kind = question_kind(question)
    if kind == "yes-no":
        return reading.yes_or_no()
    if kind == "choice" and (chosen := reading.choice()):
        return chosen
    return reading.span(kind)


class _Reading:
    """One question over some passages."""

    def __init__(self, question: str, passages: Sequence[str]) -> None:
        self.question = question
        self.asked = frozenset(terms(question))
        self.sentences = list(_sentences(passages))
        frequency = Counter(word for sentence in self.sentences for word in sentence.words)
        total = len(self.sentences)
        self.idf = {word: math.log(1 + total / (1 + frequency[word])) for word in self.asked}
        self.names = {sentence.title: frozenset(terms(sentence.title)) for sentence in self.sentences}
        self.bridges = [title for title in self.names if len(title) > 3][:MOST_BRIDGES]
        self.scores = [self._score(sentence) for sentence in self.sentences]

    def _score(self, sentence: _Sentence) -> float:
        own = sum(self.idf[word] for word in self.asked & sentence.words)
        stems = self.names[sentence.title]
        title = stems & self.asked - sentence.words
        named = 0.8 if stems and stems <= self.asked else 0.0
        bridge = any(title != sentence.title and title in sentence.text for title in self.bridges)
        return (
            own + named + 0.6 * sum(self.idf[word] for word in title) + (0.3 if bridge else 0.0) + 0.1 * sentence.first
        )

    def best(self) -> _Sentence:
        return self.sentences[max(range(len(self.scores)), key=self.scores.__getitem__)]

    def yes_or_no(self) -> Finding:
        """Yes where what is asked of the named subjects is said of each of them."""
        titles = [title for title, stems in self.names.items() if stems]
        subjects = [title for title in titles if frozenset(terms(_bare(title))) <= self.asked] or [
            title for title in titles if len(self.names[title] & self.asked) * 2 >= len(self.names[title])
        ]
        about = frozenset(word for title in subjects for word in self.names[title])
        predicate = self.asked - about
        said = [
            predicate & frozenset().union(*(s.words for s in self.sentences if s.title == title)) for title in subjects
        ]
        shared = frozenset.intersection(*said) if said else predicate & self.best().words
        agrees = not predicate or len(shared) * 2 >= len(predicate)
        best = self.best()
        return Finding("yes" if agrees else "no", best.text, best.passage)

    def choice(self) -> Finding | None:
        """One of the two that "… A or B?" names: by their dates or numbers where it compares these, else by overlap."""
        named = alternatives(self.question)
        if named is None:
            return None
        options = [_last_name(named[0]), named[1]]
        about = [self._about(option) for option in options]
        if not all(about):
            return None
        pattern = YEAR if EARLIER.search(self.question) or LATER.search(self.question) else NUMBER
        values = [_first_value(pattern, sentences) for sentences in about]
        first, second = values
        if first is not None and second is not None and first != second and compares(self.question):
            wants_small = bool(EARLIER.search(self.question)) and not MORE.search(self.question)
            chosen = 0 if (first < second) == wants_small else 1
        else:
            support = [sum(self.scores[self.sentences.index(s)] for s in sentences[:3]) for sentences in about]
            chosen = 0 if support[0] >= support[1] else 1
        evidence = about[chosen][0]
        return Finding(options[chosen], evidence.text, evidence.passage)

    def _about(self, option: str) -> list[_Sentence]:
        stems = frozenset(terms(option))
        titled = [s for s in self.sentences if stems and len(stems & self.names[s.title]) * 2 >= len(stems)]
        return titled or [s for s in self.sentences if stems and stems <= s.words]

    def span(self, kind: Kind) -> Finding:
        """The candidate of the kind with the best sentence, closest to the question's words."""
        top = max(self.scores)
        best: tuple[float, Finding] | None = None
        for sentence, score in zip(self.sentences, self.scores, strict=True):
            if score < 0.35 * top:
                continue
            for text, start, bonus in self._candidates(kind, sentence):
                near = self._nearness(sentence, start, start + len(text))
                value = score + bonus + 1.2 * near
                if best is None or value > best[0]:
                    best = (value, Finding(text, sentence.text, sentence.passage))
        if best:
            return best[1]
        sentence = self.best()
        return Finding(sentence.text.rstrip("."), sentence.text, sentence.passage)

    def _candidates(self, kind: Kind, sentence: _Sentence) -> Iterator[tuple[str, int, float]]:
        if kind in ("date", "number", "measure"):
            yield from self._values(kind, sentence.text)
            return
        if sentence.first and sentence.title and not self._is_asked(sentence.title):
            yield _bare(sentence.title), 0, 0.8 + _shape_bonus(kind, _bare(sentence.title), "")
        for match in QUOTED.finditer(sentence.text):
            if kind == "name" and not self._is_asked(match[1]):
                yield match[1], match.start(), -0.2
        for name, start in find_names(sentence.text):
            if not self._is_asked(name):
                yield name, start, _shape_bonus(kind, name, sentence.text[:start]) - (0.4 if start == 0 else 0.0)

    def _values(self, kind: Kind, text: str) -> Iterator[tuple[str, int, float]]:
        """Dates or numbers of the form that the question names; a measure comes with its unit."""
        for match in value_pattern(kind, self.question.lower()).finditer(text):
            if stem(match[0]) in self.asked:
                continue
            unit = UNIT.match(text, match.end()) if kind == "measure" else None
            unlikely = kind != "date" and (YEAR.fullmatch(match[0]) or (kind == "measure" and not unit))
            yield match[0] + (unit[0] if unit else ""), match.start(), -1.0 if unlikely else 0.0

    def _is_asked(self, text: str) -> bool:
        stems = frozenset(terms(text))
        return not stems or len(stems & self.asked) * 2 > len(stems)

    def _nearness(self, sentence: _Sentence, start: int, end: int) -> float:
        """Weight of the question's words around a span, less with the distance in characters."""
        total = 0.0
        for match in WORD.finditer(sentence.text):
            weight = self.idf.get(stem(match[0]))
            if weight and match[0].lower() not in STOPWORDS:
                gap = max(0, match.start() - end, start - match.end())
                total += weight / (1 + gap / 12)
        return total


def _sentences(passages: Sequence[str]) -> Iterator[_Sentence]:
    for index, passage in enumerate(passages):
        title, parts = _passage_sentences(passage)
        for position, (text, stems) in enumerate(parts):
            yield _Sentence(text, title, index, position == 0, stems)


def _shape_bonus(kind: Kind, name: str, before: str) -> float:
    parts = name.split()
    if kind == "person":
        looks = 2 <= len(parts) <= 4 and all(part[0].isupper() for part in parts)
        return 0.8 if looks else -0.6
    if kind == "place":
        return 0.8 if re.search(r"\b(?:in|at|near|from|of|to)(?: the)? $", before) else -0.2
    return 0.0


def _bare(title: str) -> str:
    return re.sub(r"\s*\([^)]*\)$", "", title)


def _last_name(text: str) -> str:
    """The name that a clause ends with: what stands before "or"."""
    found = names(text)
    return found[-1] if found else text.split(":")[-1].strip()


def _first_value(pattern: re.Pattern[str], sentences: Sequence[_Sentence]) -> float | None:
    for sentence in sentences:
        for match in pattern.finditer(sentence.text):
            digits = match[0].replace(",", "")
            if digits.isdigit():
                return float(digits)
    return None
