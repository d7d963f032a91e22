# SPDX-License-Identifier: Apache-2.0
"""A provider to prove things on: OpenAI-compatible HTTP with real quotas, faults, scenarios and a ledger.

    async with Provider(SimulatorConfig(behaviour=Behaviour(rpm=60, latency_seconds=0.3))) as provider: …

`slipway simulate-provider` runs the same from the command line; docs/simulator.md says what it can do.
"""

from slipway_server.simulate.config import Behaviour, SimulatorConfig, Step, load_scenario
from slipway_server.simulate.ledger import Entry, Ledger
from slipway_server.simulate.server import Provider

__all__ = ["Behaviour", "Entry", "Ledger", "Provider", "SimulatorConfig", "Step", "load_scenario"]
