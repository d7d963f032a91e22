# SPDX-License-Identifier: Apache-2.0
"""Next step of a ReAct agent for the extractive reader: one search with the question, then finish."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway_server.lm.offline_prompt import Prompt

_TOOL = re.compile(
    r"^\(\d+\) (\w+)(?:, whose description is <desc>(.*?)</desc>)?\. It takes arguments (\{.*?\})\.$",
    re.MULTILINE | re.DOTALL,
)
_SEARCH = re.compile(r"search|retriev|look ?_?up|find|query|wiki|fetch", re.IGNORECASE)
_CALLED = re.compile(r"^\[\[ ## tool_name_\d+ ## \]\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    arguments: Mapping[str, object]


def next_step(prompt: Prompt, question: str) -> dict[str, object]:
    """Values of next_thought, next_tool_name and next_tool_args; empty where the prompt asks for none of these."""
    if not any(output.name == "next_tool_name" for output in prompt.outputs):
        return {}
    tools = [tool for tool in _tools(prompt.system) if tool.name != "finish"]
    if not tools or _CALLED.search(prompt.inputs.get("trajectory", "")):
        return _step("What was found is enough to answer.", "finish", {})
    tool = next((tool for tool in tools if _SEARCH.search(tool.name)), None)
    tool = tool or next((tool for tool in tools if _SEARCH.search(tool.description)), tools[0])
    return _step(f"First ask {tool.name}.", tool.name, _arguments(tool, question))


def _step(thought: str, name: str, arguments: dict[str, object]) -> dict[str, object]:
    return {"next_thought": thought, "next_tool_name": name, "next_tool_args": arguments or "{}"}


def _tools(system: str) -> list[_Tool]:
    found = []
    for name, description, arguments in _TOOL.findall(re.sub(r"^[ \t]+", "", system, flags=re.MULTILINE)):
        try:
            parsed = ast.literal_eval(arguments)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            parsed = {}
        found.append(_Tool(name, description, parsed if isinstance(parsed, dict) else {}))
    return found


def _arguments(tool: _Tool, question: str) -> dict[str, object]:
    """The question for text arguments, the question's numbers in order for numeric ones."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", question)
    values: dict[str, object] = {}
    for name, schema in tool.arguments.items():
        kind = schema.get("type") if isinstance(schema, dict) else None
        if isinstance(schema, dict) and "default" in schema:
            continue
        if kind in ("integer", "number"):
            number = float(numbers.pop(0)) if numbers else 1.0
            values[name] = int(number) if kind == "integer" else number
        elif kind == "array":
            values[name] = [question]
        elif kind == "boolean":
            values[name] = True
        else:
            values[name] = question
    return values
