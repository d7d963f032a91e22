# SPDX-License-Identifier: Apache-2.0
"""Import classes that configuration names as package.module:Class."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from slipway_server.errors import ProgramInvalid


def import_attribute(path: str) -> Any:
    """What `package.module:Name` names. Raises ProgramInvalid, which says what is wrong with the path or the module.

    The current folder is searched too, as `python -m` does, so that a program beside the shell is found.
    """
    module_name, separator, name = path.partition(":")
    if not (module_name and separator and name):
        raise ProgramInvalid(f"'{path}' is not of the form package.module:Class", program=path)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        what = "is not installed" if missing == module_name.split(".")[0] else "does not exist"
        raise ProgramInvalid(f"'{path}': module {missing} {what}", program=path) from None
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ProgramInvalid(f"'{path}': cannot be imported, {why}", program=path) from error
    if not hasattr(module, name):
        raise ProgramInvalid(f"'{path}': module {module_name} has no {name}", program=path)
    return getattr(module, name)


def import_program(path: str) -> type[Any]:
    """The dspy.Module class that `path` names. Raises ProgramInvalid."""
    import dspy

    found = import_attribute(path)
    if not (isinstance(found, type) and issubclass(found, dspy.Module)):
        raise ProgramInvalid(f"'{path}' is not a dspy.Module class", program=path)
    return found
