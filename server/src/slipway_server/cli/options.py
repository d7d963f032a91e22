# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, written once, as the fields of a dataclass.

@dataclass(frozen=True)
class Where:
    release: str = typer.Option(..., "--release", help="Name of the release.")

@command.command()
@expanded
def promote(where: Where, percent: float = typer.Option(100)) -> None: ...    # --release, --percent
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as typer takes it: a parameter whose type is a dataclass becomes its fields, in the same place."""
    hints = get_type_hints(function)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            types = get_type_hints(groups[name])
            parameters += [_keyword(item.name, types[item.name], item.default) for item in fields(groups[name])]
        else:
            parameters.append(_keyword(name, hints[name], parameter.default))

    @functools.wraps(function)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{item.name: given.pop(item.name) for item in fields(group)})
        function(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
