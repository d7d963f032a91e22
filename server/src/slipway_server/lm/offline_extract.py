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
from typing import Literal

Kind = Literal["yes-no", "choice", "date", "number", "person", "place", "name"]

LONGEST_SENTENCE = 1000
"""Text without sentence ends is cut to pieces of so many characters, so that time grows with length and no faster."""
MOST_BRIDGES = 50
"""Titles beyond so many are not looked for in other passages."""
_FUNCTION_WORDS = """
a an and are as at be been being but by can could did do does during for from had has have he her his how i if in
into is it its may more most of on one or other over she so than that the their them then there these they this
those to under was we were what when where which while who whom whose why will with would you your both same also
between after before about up out such not no any all
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
_WORD = re.compile(r"[^\W_]+(?:['’\-.][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]*\s+(?=[\"“'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|vs|No|Mt|Prof|Gen|Col|Capt|Lt|Inc|Co|Ltd|approx|ca|c|b))\.$"
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"(?:\d{{1,2}} (?:{_MONTHS})(?: \d{{4}})?|(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?|(?:{_MONTHS}) \d{{4}}"
    r"|\b1\d{3}s?\b|\b20\d{2}s?\b)"
)
_YEAR = re.compile(r"\b(?:1\d{3}|20\d{2})\b")
_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|twenty|thirty|forty|fifty|hundred"
)
_NUMBER = re.compile(rf"\b\d[\d,]*(?:\.\d+)?(?: (?:million|billion|percent))?|\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
_NAME_WORD = r"(?:[A-Z][\w'’&\-]*(?:\.(?=\s[A-Z]|\w))?(?:[A-Z]\.)*)"
_JOINED = r"(?:,? (?:of the|of|and the|the|de|la|van|von|der|du|del|for|on|&) |, (?=[A-Z]\w+,)| | \d+ )"
_NAME = re.compile(rf"{_NAME_WORD}(?:{_JOINED}{_NAME_WORD}|(?: \d+\b))*")
_QUOTED = re.compile(r"[\"“]([^\"”]{2,80})[\"”]")
_AUXILIARY = re.compile(r"^(?:are|is|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE)
_EARLIER = re.compile(r"\b(?:first|older|oldest|earlier|earliest|before)\b", re.IGNORECASE)
_LATER = re.compile(r"\b(?:later|latest|newer|younger|youngest|last|recent|recently)\b", re.IGNORECASE)
_MORE = re.compile(r"\b(?:more|most|larger|largest|bigger|higher|greater|longer|taller)\b", re.IGNORECASE)
_PERSONS = "actor|actress|singer|director|author|man|woman|person|player|writer|president|musician|politician"
_PLACES = "city|country|state|town|county|place|village|continent|region|province|island"
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "number",
        re.compile(r"\bhow (?:many|much|old|long|far|tall|large|big)\b|\bwhat (?:number|age|percentage|population)\b"),
    ),
    ("date", re.compile(r"\bwhen\b|\b(?:what|which|in) (?:\w+ )?(?:year|date|day|month|decade|century)\b")),
    ("person", re.compile(rf"\bwho(?:m|se)?\b|\b(?:what|which) (?:\w+ ){{0,2}}(?:{_PERSONS})\b")),
    ("place", re.compile(rf"\bwhere\b|\b(?:what|which) (?:\w+ ){{0,2}}(?:{_PLACES})\b")),
)


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
    return _WORD.findall(text)


def terms(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(word) for word in _WORD.findall(text) if word.lower() not in STOPWORDS]


@lru_cache(maxsize=2048)
def _passage_sentences(passage: str) -> tuple[str, tuple[tuple[str, frozenset[str]], ...]]:
    title, mark, text = passage.partition(" | ")
    if not mark or len(title) > 200:
        title, text = "", passage
    parts = [part for part in split_sentences(text) if part]
    return title.strip(), tuple((part, frozenset(terms(part))) for part in parts)


def names(text: str) -> list[str]:
    """Capitalised names in a text, in order, without a sentence's leading article."""
    found = (_without_article(match[0], match.start())[0] for match in _NAME.finditer(text))
    return [name for name in found if name]


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


def question_kind(question: str) -> Kind:
    """What an answer to the question would be."""
    lowered = question.lower().strip()
    if _AUXILIARY.match(lowered):
        return "yes-no"
    if _alternatives(question) and re.search(r"\b(?:which|who|what)\b", lowered):
        return "choice"
    found = [(match.start(), kind) for kind, pattern in _KINDS if (match := pattern.search(lowered))]
    return min(found)[1] if found else "name"


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
        title = self.names[sentence.title] & self.asked - sentence.words
        bridge = any(title != sentence.title and title in sentence.text for title in self.bridges)
        return own + 0.6 * sum(self.idf[word] for word in title) + (0.3 if bridge else 0.0) + 0.1 * sentence.first

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
        named = _alternatives(self.question)
        if named is None:
            return None
        options = [_last_name(named[0]), named[1]]
        about = [self._about(option) for option in options]
        if not all(about):
            return None
        pattern = _YEAR if _EARLIER.search(self.question) or _LATER.search(self.question) else _NUMBER
        values = [_first_value(pattern, sentences) for sentences in about]
        first, second = values
        if first is not None and second is not None and first != second and _compares(self.question):
            wants_small = bool(_EARLIER.search(self.question)) and not _MORE.search(self.question)
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
        if kind in ("date", "number"):
            pattern = _DATE if kind == "date" else _NUMBER
            year = "year" in self.question.lower()
            for match in (_YEAR if year else pattern).finditer(sentence.text):
                if stem(match[0]) not in self.asked:
                    yield match[0], match.start(), 0.0 if kind == "date" or not _YEAR.fullmatch(match[0]) else -1.0
            return
        if sentence.first and sentence.title and not self._is_asked(sentence.title):
            yield _bare(sentence.title), 0, 0.8 + _shape_bonus(kind, _bare(sentence.title), "")
        for match in _QUOTED.finditer(sentence.text):
            if kind == "name" and not self._is_asked(match[1]):
                yield match[1], match.start(), -0.2
        for match in _NAME.finditer(sentence.text):
            name, start = _without_article(match[0], match.start())
            if name and not self._is_asked(name):
                yield name, start, _shape_bonus(kind, name, sentence.text[:start]) - (0.4 if start == 0 else 0.0)

    def _is_asked(self, text: str) -> bool:
        stems = frozenset(terms(text))
        return not stems or len(stems & self.asked) * 2 > len(stems)

    def _nearness(self, sentence: _Sentence, start: int, end: int) -> float:
        """Weight of the question's words around a span, less with the distance in characters."""
        total = 0.0
        for match in _WORD.finditer(sentence.text):
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


def _without_article(name: str, start: int) -> tuple[str, int]:
    first, _, rest = name.partition(" ")
    if first.lower() in STOPWORDS:
        return rest, start + len(first) + 1
    return name.rstrip(".,"), start


def _bare(title: str) -> str:
    return re.sub(r"\s*\([^)]*\)$", "", title)


def _alternatives(question: str) -> tuple[str, str] | None:
    """What stands before and after the last "or" of a question, up to the next comma."""
    before, found, after = question.rstrip(" ?").rpartition(" or ")
    left = re.split("[,?]", before.rstrip(", "))[-1].strip()
    right = after.strip().removeprefix("the ")
    return (left, right) if found and left and right and not re.search("[,?]", right) else None


def _last_name(text: str) -> str:
    """The name that a clause ends with: what stands before "or"."""
    found = _NAME.findall(text)
    return found[-1].strip() if found else text.split(":")[-1].strip()


def _first_value(pattern: re.Pattern[str], sentences: Sequence[_Sentence]) -> float | None:
    for sentence in sentences:
        for match in pattern.finditer(sentence.text):
            digits = match[0].replace(",", "")
            if digits.isdigit():
                return float(digits)
    return None


def _compares(question: str) -> bool:
    return bool(_EARLIER.search(question) or _LATER.search(question) or _MORE.search(question))
