# SPDX-License-Identifier: Apache-2.0
"""How long prompts are before anybody asks anything: system message and demos, as the served adapter writes them.

fixed_tokens(program)          # {"generate_answer.predict": 812}
"""

from __future__ import annotations

from typing import Any

import dspy

from slipway_server.runtime.adapter import SlipwayAdapter

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, about; the provider's own count is what manifests record."""


def fixed_tokens(program: dspy.Module) -> dict[str, int]:
    """Estimated tokens by predictor that every call pays, whatever its inputs."""
    return {
        name: round(_characters(predictor) / CHARACTERS_PER_TOKEN) for name, predictor in program.named_predictors()
    }


def _characters(predictor: Any) -> int:
    adapter = SlipwayAdapter()
    demos = adapter.format_demos(predictor.signature, predictor.demos)
    return len(adapter.format_system_message(predictor.signature)) + sum(len(str(one["content"])) for one in demos)
