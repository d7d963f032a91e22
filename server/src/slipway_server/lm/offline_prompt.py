# SPDX-License-Identifier: Apache-2.0
"""Reads a prompt that a DSPy adapter wrote: the fields asked for, the demos and the inputs.

    prompt = parse_prompt(messages)      # [("system", text), ("user", text), …], as chat messages are
    prompt.outputs[0].name, prompt.inputs["question"], prompt.demos[0].outputs["answer"]

Understands the layouts of ChatAdapter, JSONAdapter and XMLAdapter. Anything else becomes a prompt without output
fields: its last paragraph is the question and the rest of the text its context. Never raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal

Layout = Literal["chat", "json", "xml", "plain"]

_FIELD = re.compile(r"^\d+\. `(\w+)` \((.+?)\):(?: (.*))?$", re.MULTILINE)
_NOTE = re.compile(r"\{(\w+)\} {8}# note: the value you produce (.+?)(?:\n|$)")
_SCHEMA = "must adhere to the JSON schema: "
_CHOICES = re.compile(r"must (?:exactly match \(no extra characters\) one of|be one of): (.+)")
_OBJECTIVE = re.compile(r"In adhering to this structure, your objective is: ?(.*)", re.DOTALL)
_REMINDERS = (
    "\n\nRespond with the corresponding output fields",
    "\n\nRespond with a JSON object in the following order",
)
_MISSING = "Not supplied for this particular example."
_MARKER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.MULTILINE)
_LISTED = re.compile(r"^\[\d+\] (?=«)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Output:
    """A field that the prompt asks for. `schema` is the JSON schema that a structured type must follow."""

    name: str
    type: str = "str"
    description: str = ""
    choices: tuple[str, ...] = ()
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """An earlier exchange of the prompt."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the prompt says. Inputs are text; `passages` splits those that hold lists."""

    layout: Layout
    outputs: tuple[Output, ...]
    inputs: Mapping[str, str]
    demos: tuple[Demo, ...] = ()
    instructions: str = ""
    system: str = ""
    raw: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Task:
    layout: Layout
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    instructions: str


def parse_prompt(messages: Sequence[tuple[str, str]]) -> Prompt:
    """Read chat messages, given as (role, text) pairs, the system's included."""
    system = "\n\n".join(text for role, text in messages if role in ("system", "developer"))
    turns = [(role, text) for role, text in messages if role in ("user", "assistant")]
    last = next((text for role, text in reversed(turns) if role == "user"), "")
    task = _task(system)
    if not task.outputs:
        return Prompt("plain", (), _plain_inputs(system, last), system=system, raw=last)
    names = tuple(output.name for output in task.outputs)
    demos = tuple(
        _demo(asked, answered, task.layout, task.inputs, names)
        for (role, asked), (next_role, answered) in pairwise(turns)
        if role == "user" and next_role == "assistant"
    )
    inputs = _sections(_without_reminder(last), task.inputs, task.layout)
    return Prompt(task.layout, task.outputs, inputs, demos, task.instructions, system, last)


def passages(value: str) -> list[str]:
    """The texts in an input's value: DSPy's numbered list, a JSON list, or the value itself."""
    value = value.strip()
    if value.startswith("[") and not _LISTED.match(value):
        listed = _json(value)
        if isinstance(listed, list):
            return [text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in listed]
    texts = (part.strip().strip("«»").strip() for part in _LISTED.split(value))
    return [text for text in texts if text and text != "N/A"]


@lru_cache(maxsize=256)
def _task(system: str) -> _Task:
    before, found, after = system.partition("Your output fields are:")
    if not found:
        return _Task("plain", (), (), "")
    declared, _, structure = after.partition("All interactions will be structured")
    notes = dict(_NOTE.findall(structure.replace('"\n', "\n").replace('",\n', "\n")))
    outputs = tuple(
        _output(name, kind, description, notes.get(name, "")) for name, kind, description in _FIELD.findall(declared)
    )
    layout: Layout = "chat" if "[[ ## completed ## ]]" in structure else "xml"
    if "Outputs will be a JSON object" in structure:
        layout = "json"
    objective = _OBJECTIVE.search(structure)
    instructions = re.sub(r"^ +", "", objective[1].strip(), flags=re.MULTILINE) if objective else ""
    return _Task(layout, tuple(match[0] for match in _FIELD.findall(before)), outputs, instructions)


def _output(name: str, kind: str, description: str, note: str) -> Output:
    choices = _CHOICES.match(note)
    schema = _json(note[len(_SCHEMA) :].replace('\\"', '"')) if note.startswith(_SCHEMA) else None
    return Output(
        name=name,
        type=kind,
        description=(description or "").strip(),
        choices=tuple(choice.strip() for choice in choices[1].split(";")) if choices else (),
        schema=schema if isinstance(schema, dict) else None,
    )


@lru_cache(maxsize=1024)
def _demo(asked: str, answered: str, layout: Layout, inputs: tuple[str, ...], names: tuple[str, ...]) -> Demo:
    if layout == "json":
        found = _json(answered)
        fields = found if isinstance(found, dict) else {}
        outputs = {name: str(value) for name, value in fields.items()}
    else:
        outputs = _sections(answered, (*names, "completed"), layout)
    given = {name: value for name, value in outputs.items() if name in names and not value.startswith(_MISSING)}
    return Demo(_sections(asked, inputs, layout), given)


def _sections(text: str, names: Sequence[str], layout: Layout) -> dict[str, str]:
    """Field → value. Only declared names open a section: a value may itself contain markers (ReAct's trajectory)."""
    if layout == "xml":
        found = ((name, re.search(rf"<{name}>\n?(.*?)\n?</{name}>", text, re.DOTALL)) for name in names)
        return {name: match[1].strip() for name, match in found if match}
    marks = [match for match in _MARKER.finditer(text) if match[1] in names]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    sections: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        sections.setdefault(mark[1], text[mark.end() : end].strip())
    return sections


def _without_reminder(text: str) -> str:
    end = max(text.rfind(reminder) for reminder in _REMINDERS)
    return text if end < 0 else text[:end]


def _plain_inputs(system: str, last: str) -> dict[str, str]:
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", last) if part.strip()]
    asked = next((part for part in reversed(paragraphs) if part.endswith("?")), paragraphs[-1] if paragraphs else "")
    context = [system, *(part for part in paragraphs if part is not asked)]
    return {"context": "\n".join(part for part in context if part), "question": asked}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def render(layout: Layout, values: Mapping[str, object]) -> str:
    """Write output fields the way the prompt's adapter reads them."""
    if layout == "json":
        return json.dumps(values, ensure_ascii=False, indent=2)
    texts = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
        for name, value in values.items()
    }
    if layout == "xml":
        return "\n\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in texts.items())
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in {**texts, "completed": ""}.items())
