# SPDX-License-Identifier: Apache-2.0
"""Runs the simulated provider until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from slipway_server import loop
from slipway_server.simulate.config import SimulatorConfig
from slipway_server.simulate.server import Provider


def configuration_lines(provider: Provider) -> list[str]:
    """The lines that point a Slipway server at this provider, ready for a file or a shell."""
    model = provider.state.models()[0]
    key = provider.config.keys[0] if provider.config.keys else "any-key"
    lines = [
        f"SLIPWAY_LM_MODEL=openai/{model}",
        f"SLIPWAY_LM_BASE_URL={provider.base_url}",
        f"SLIPWAY_LM_API_KEY={key}",
    ]
    behaviour = provider.state.behaviour(model)
    if behaviour.rpm:
        lines += [f"SLIPWAY_LM_RPM={behaviour.rpm:g}", f"SLIPWAY_LM_BURST_SECONDS={_burst(provider, model):g}"]
    if behaviour.tpm:
        lines.append(f"SLIPWAY_LM_TPM={behaviour.tpm:g}")
    return lines


def main(config: SimulatorConfig, announce: Callable[[Provider], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once the port is open.

    Raises PortTaken, or ConfigInvalid for an address that is not this machine's.
    """
    loop.run(_serve(config, announce))


async def _serve(config: SimulatorConfig, announce: Callable[[Provider], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Provider(config) as provider:
        announce(provider)
        await stop.wait()


def _burst(provider: Provider, model: str) -> float:
    behaviour = provider.state.behaviour(model)
    return behaviour.burst_seconds if behaviour.quota == "bucket" else behaviour.window_seconds
