# SPDX-License-Identifier: Apache-2.0
"""Fills the output fields of a prompt: what the extractive reader answers (see lm/offline.py).

    answer_messages([("system", …), ("user", …)])     # text, in the layout that the prompt asks for

A field's value follows from its type and, for text, from its name: reasoning quotes the sentence, a query is the
question's keywords with new names from the context, everything else is an answer whose length and form the demos show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import median

from slipway_server.lm import offline_agent, offline_instructions
from slipway_server.lm.offline_extract import Finding, find_answer
from slipway_server.lm.offline_prompt import Output, Prompt, parse_prompt, passages, render
from slipway_server.lm.offline_questions import question_kind
from slipway_server.lm.offline_text import names, terms, words

SHORT_WORDS = 8
"""Demos whose median answer has at most so many words show that a span is wanted, not a sentence."""
NOTHING_FOUND = "No passage in the prompt answers this."

_SHORT_WANTED = re.compile(
    r"\b(?:short(?:est)?|brief|concise|factoid|few words|single word|one word|exact phrase|"
    r"between \d+ and \d+ words|only the answer|answer only)\b",
    re.IGNORECASE,
)
_QUESTIONS = ("question", "query", "claim", "user_question", "request", "problem", "message", "input", "text", "prompt")
_QUERY = re.compile(r"(?:^|_)(?:quer(?:y|ies)|search|keywords)(?:_|$)")
_REASONING = re.compile(
    r"(?:^|_)(?:reasoning|rationale|thoughts?|discussion|explanation|justification|evidence)(?:_|$)"
)
_TRUTH = re.compile(r"truth|gold|expected|reference|context|passages|documents|example")
_OBSERVATION = re.compile(r"\[\[ ## observation_\d+ ## \]\]\n?(.*?)(?=\n\n\[\[ ## \w+ ## \]\]|\Z)", re.DOTALL)


def answer_messages(messages: Sequence[tuple[str, str]]) -> str:
    """The text that answers chat messages, given as (role, text) pairs. Never raises on an odd prompt."""
    prompt = parse_prompt(messages)
    if prompt.outputs:
        return render(prompt.layout, _Answering(prompt).values())
    proposal = offline_instructions.plain_proposal(prompt.raw)
    if proposal is not None:
        return proposal
    finding = _Answering(prompt).finding
    return finding.sentence if finding else NOTHING_FOUND


class _Answering:
    """One prompt being answered."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.question_field = _question_field(prompt.inputs)
        self.question = prompt.inputs.get(self.question_field, "")

    def values(self) -> dict[str, object]:
        agent = offline_agent.next_step(self.prompt, self.question)
        return {output.name: agent.get(output.name) or self._value(output) for output in self.prompt.outputs}

    @cached_property
    def passages(self) -> list[str]:
        found: list[str] = []
        for name, value in self.prompt.inputs.items():
            if name != self.question_field:
                observed = _OBSERVATION.findall(value)
                found += [text for part in observed or [value] for text in passages(part)]
        return found

    @cached_property
    def finding(self) -> Finding | None:
        return find_answer(self.question, self.passages)

    def _value(self, output: Output) -> object:
        if output.choices:
            return self._choose(output)
        if output.schema is not None:
            return self._structured(output.schema, output.schema.get("$defs"))
        if output.type in ("bool", "int", "float"):
            return self._scalar(output)
        if (proposal := offline_instructions.proposal(output.name, self.prompt)) is not None:
            return proposal
        if _REASONING.search(output.name):
            return self._reasoning()
        if _QUERY.search(output.name):
            return self._query()
        return self._answer(output)

    def _answer(self, output: Output) -> str:
        shown = [demo.outputs[output.name] for demo in self.prompt.demos if output.name in demo.outputs]
        asked = f"{self.prompt.instructions}\n{output.description}"
        if shown:
            short = median(len(words(answer)) for answer in shown) <= SHORT_WORDS
        else:
            short = bool(_SHORT_WANTED.search(asked))
        if self.finding is None:
            return "unknown" if short else NOTHING_FOUND
        if not short:
            return self.finding.sentence
        return _like(shown, self.finding.span)

    def _reasoning(self) -> str:
        if self.finding is None:
            return "The prompt holds no passage about this."
        return f"A passage says: {self.finding.sentence}"

    def _query(self) -> str:
        """The question's keywords, and the names of the best passage sentence that the question does not have."""
        keywords = [word for word in words(self.question) if terms(word)]
        known = frozenset(terms(self.question))
        fresh = [
            name
            for name in (names(self.finding.sentence) if self.finding else ())
            if not frozenset(terms(name)) & known
        ]
        return " ".join(dict.fromkeys([*keywords, *fresh[:3]])) or self.question or "unknown"

    def _choose(self, output: Output) -> str:
        """The label of the demo most like the input; without a like demo, the choice most like the input's words."""
        given = self._input_terms(self.prompt.inputs)
        nearest = max(
            (demo for demo in self.prompt.demos if demo.outputs.get(output.name) in output.choices),
            key=lambda demo: _overlap(self._input_terms(demo.inputs), given),
            default=None,
        )
        if nearest and _overlap(self._input_terms(nearest.inputs), given) > 0:
            return nearest.outputs[output.name]
        by_word = {choice.lower(): choice for choice in output.choices}
        if self.finding and self.finding.span.lower() in by_word:
            return by_word[self.finding.span.lower()]
        return max(output.choices, key=lambda choice: len(frozenset(terms(choice)) & given))

    @staticmethod
    def _input_terms(inputs: Mapping[str, str]) -> frozenset[str]:
        return frozenset(term for value in inputs.values() for term in terms(value))

    def _scalar(self, output: Output) -> object:
        if output.type == "bool":
            if question_kind(self.question) == "yes-no" and self.finding:
                return self.finding.span == "yes"
            return self._support(output.name) >= 0.5
        if output.type == "float":
            return round(self._support(output.name), 2)
        return self._whole_number()

    def _support(self, name: str) -> float:
        """Share of the response's words that the reference has; for a recall, the other way round."""
        inputs = {key: value for key, value in self.prompt.inputs.items() if key != self.question_field}
        truth = frozenset(term for key, value in inputs.items() if _TRUTH.search(key) for term in terms(value))
        said = frozenset(term for key, value in inputs.items() if not _TRUTH.search(key) for term in terms(value))
        said = said or frozenset(terms(self.question))
        if re.search(r"recall|complete", name):
            truth, said = said, truth
        return _overlap(said, truth)

    def _whole_number(self) -> int:
        text = f"{self.finding.span} {self.finding.sentence}" if self.finding else self.question
        found = re.search(r"\d[\d,]{0,17}", text)
        return int(found[0].replace(",", "")) if found else 0

    def _structured(self, schema: Mapping[str, object], defs: object, inside: frozenset[str] = frozenset()) -> object:
        """The smallest value that follows a JSON schema, filled from the finding.

        A type that holds itself, such as a tree's node, is filled once: `inside` has those that are being filled.
        """
        reference = schema.get("$ref")
        if isinstance(reference, str) and isinstance(defs, dict):
            if reference in inside:
                return None
            return self._structured(defs.get(reference.rsplit("/", 1)[-1], {}), defs, inside | {reference})
        alternatives = schema.get("anyOf") or schema.get("allOf")
        if isinstance(alternatives, list):
            first: Mapping[str, object] = next((part for part in alternatives if part.get("$ref") not in inside), {})
            return self._structured(first, defs, inside)
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        if "const" in schema:
            return schema["const"]
        match schema.get("type"):
            case "object":
                return self._object(schema, defs, inside)
            case "array":
                return self._list(schema.get("items"), defs, inside)
            case "integer":
                return self._whole_number()
            case "number":
                return float(self._whole_number())
            case "boolean":
                return bool(self.finding and self.finding.span != "no")
            case "null":
                return None
        return self.finding.span if self.finding else "unknown"

    def _list(self, items: object, defs: object, inside: frozenset[str]) -> list[object]:
        """One item; a list of whole numbers is read as the numbers of passages, counted from 1."""
        if self.finding is None or not isinstance(items, dict) or items.get("$ref") in inside:
            return []
        if items.get("type") == "integer":
            return [self.finding.passage + 1]
        return [self._structured(items, defs, inside)]

    def _object(self, schema: Mapping[str, object], defs: object, inside: frozenset[str]) -> dict[str, object]:
        properties = schema.get("properties")
        if isinstance(properties, dict):
            return {name: self._structured(part, defs, inside) for name, part in properties.items()}
        keys = next((value for name, value in self.prompt.inputs.items() if name.endswith("_names")), "")
        return {key: offline_instructions.advice(self.prompt.raw) for key in passages(keys)}


def _question_field(inputs: Mapping[str, str]) -> str:
    for name in _QUESTIONS:
        if name in inputs:
            return name
    return min(inputs, key=lambda name: len(inputs[name]), default="")


def _overlap(part: frozenset[str], whole: frozenset[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0


def _like(shown: Sequence[str], span: str) -> str:
    """The span in the form that the demos' answers have: their case of yes and no, their full stop."""
    if span in ("yes", "no"):
        same = [answer for answer in shown if answer.strip(".").lower() in ("yes", "no")]
        span = span.capitalize() if same and same[0][0].isupper() else span
    elif shown and all(answer == answer.lower() and re.search("[a-z]", answer) for answer in shown):
        span = span.lower()
    if shown and all(answer.endswith(".") for answer in shown):
        span = f"{span.rstrip('.')}."
    return span
