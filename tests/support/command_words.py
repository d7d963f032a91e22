# SPDX-License-Identifier: Apache-2.0
"""Which words of a command line `slipway` does not have: for commands in documents and in the chart."""

from __future__ import annotations

import importlib

import typer

from slipway_server.cli.app import COMMANDS


def unknown_words(words: list[str]) -> list[str]:
    """The command, subcommand or options among the words that `slipway` does not have."""
    name, *rest = words
    if name not in COMMANDS:
        return [] if name.startswith("--") else [name]
    command = typer.main.get_command(importlib.import_module(COMMANDS[name][0]).command)
    while subcommands := getattr(command, "commands", None):
        if not rest or rest[0] not in subcommands:
            return rest[:1]
        command, rest = subcommands[rest[0]], rest[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in rest if word.startswith("--") and word.split("=")[0] not in options | {"--help"}]
