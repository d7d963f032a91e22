# SPDX-License-Identifier: Apache-2.0
"""A program, a corpus that changes, and judges: for tests of the loop.

In the first corpus each mill's sentence has one year. In the second a fire's year stands beside it, so that a program
whose demos quote whole sentences suddenly answers with two years; one whose demos are short still names the right one.
"""

from __future__ import annotations

import re
from typing import Any

import dspy

from slipway_server.retrieval import binding
from slipway_server.retrieval.corpus import Document

SYLLABLES = ("bar", "cul", "den", "fos", "gal", "hul", "jor", "kem", "lom", "mer", "nor", "pal")
PLACES = [f"{first}{second}wick".capitalize() for first in SYLLABLES for second in SYLLABLES if first != second]
YEARS = {place: 1700 + 2 * number for number, place in enumerate(PLACES)}


class Archive(dspy.Module):
    """Answers from the one passage that fits best."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("context: list[str], question: str -> answer: str")

    async def aforward(self, question: str) -> dspy.Prediction:
        [passages] = await binding.search([question], 1)
        return await self.answer.acall(context=[passage.long_text for passage in passages], question=question)


def question(place: str) -> str:
    return f"In which year was the mill of {place} founded?"


def sentence(place: str, *, changed: bool) -> str:
    fire = f" and burnt in {YEARS[place] + 57}" if changed else ""
    return f"The mill of {place} was founded by its own villagers in the year {YEARS[place]}{fire}."


def documents(*, changed: bool) -> list[Document]:
    rest = "It stands beside the river, has three pairs of stones and grinds oats for the villages around it."
    return [Document(str(n), place, f"{sentence(place, changed=changed)} {rest}") for n, place in enumerate(PLACES)]


def judged(example: Any, prediction: Any, trace: Any = None) -> float:
    """1 for an answer with the right year and no other. Needs no label: it knows the years."""
    place = re.search(r"mill of (\w+)", example.question)
    assert place
    return float(re.findall(r"\d{4}", str(prediction.answer)) == [str(YEARS[place[1]])])


def judged_by_lm(example: Any, prediction: Any, trace: Any = None) -> float:
    """The same verdict, after a call of the judge's LM."""
    dspy.Predict("question: str, answer: str -> verdict: str")(question=example.question, answer=prediction.answer)
    return judged(example, prediction)
