# SPDX-License-Identifier: Apache-2.0
"""`slipway simulate-provider`: a provider with real quotas, on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slipway_server.cli.output import print_json

if TYPE_CHECKING:
    from slipway_server.simulate import Provider, SimulatorConfig

command = typer.Typer(add_completion=False)


@command.command()
def simulate_provider(
    port: int = typer.Option(8089, min=0, max=65535, help="Port; 0 takes a free one."),
    host: str = typer.Option("127.0.0.1", help="Address; /admin has no authentication."),
    rpm: float | None = typer.Option(None, help="Requests per minute of each key and model."),
    tpm: float | None = typer.Option(None, help="Tokens per minute of each key and model."),
    burst_seconds: float | None = typer.Option(None, help="Size of the bucket, in seconds of the rate."),
    latency: float | None = typer.Option(None, help="Mean seconds to an answer."),
    text: str | None = typer.Option(None, help="Answer everything with this text instead of the extractive reader's."),
    model: list[str] = typer.Option([], help="Known model; may be repeated. Without any, every name is known."),
    key: list[str] = typer.Option([], help="Accepted API key; may be repeated. Without any, every key is accepted."),
    setting: list[str] = typer.Option(
        [], "--set", help="Any key of the behaviour: quota=sliding, fault=html, retry_after=date, headers=anthropic, …"
    ),
    scenario: Path | None = typer.Option(None, help="TOML or JSON file: behaviour by model and time."),
    ledger: Path | None = typer.Option(None, help="Write every request to this file (JSON Lines)."),
    seed: int = typer.Option(0, help="Seed of latencies and faults."),
    as_json: bool = typer.Option(False, "--json", help="Print the address and configuration as one JSON object."),
) -> None:
    """Run an OpenAI-compatible provider with real quotas, rate-limit headers, faults and a ledger.

    Example: slipway simulate-provider --rpm 600 --burst-seconds 6 --latency 0.4 --scenario storm.toml
    """
    from slipway_server.simulate.main import main

    named = {"rpm": rpm, "tpm": tpm, "burst_seconds": burst_seconds, "latency_seconds": latency}
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if text is not None:
        changes |= {"answer": "text", "text": text}
    config = _config(scenario, changes | _pairs(setting))
    config = replace(
        config,
        models=config.models or {name: {} for name in model},
        keys=tuple(key) or config.keys,
        host=host,
        port=port,
        ledger=ledger,
        seed=seed or config.seed,
    )
    main(config, lambda provider: _announce(provider, as_json))


def _config(scenario: Path | None, changes: dict[str, Any]) -> SimulatorConfig:
    from slipway_server.simulate import SimulatorConfig, load_scenario

    config = load_scenario(scenario) if scenario else SimulatorConfig()
    return replace(config, behaviour=config.behaviour.changed(changes))


def _pairs(settings: list[str]) -> dict[str, str]:
    from slipway_server.errors import ConfigInvalid

    pairs: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigInvalid(f"--set {setting}: write it as key=value")
        pairs[name.strip()] = value
    return pairs


def _announce(provider: Provider, as_json: bool) -> None:
    from slipway_server.simulate.main import configuration_lines

    lines = configuration_lines(provider)
    if as_json:
        settings = dict(line.split("=", 1) for line in lines)
        print_json({"base_url": provider.base_url, "settings": settings}, one_line=True)
        return
    typer.echo(f"simulated provider: {provider.base_url}   (ledger: {provider.root_url}/ledger)")
    typer.echo("It is no language model. Point a server at it with:\n")
    for line in lines:
        typer.echo(f"  {line}")
