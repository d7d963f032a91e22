# SPDX-License-Identifier: Apache-2.0
"""What the extractive reader answers an optimizer that asks for a better instruction (COPRO, MIPRO, GEPA, SIMBA, …).

The old instruction with one sentence of advice; which one depends on the prompt's text only. Some of the advice asks
for a short answer, which the reader itself obeys, so a search over instructions can really find a better one.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from slipway_server.lm.offline_prompt import Prompt

ADVICE = (
    "Answer with the shortest exact phrase from the passages.",
    "Read every passage before you answer.",
    "Give only the answer, in a few words.",
    "Name the passage that the answer comes from.",
    "Be concise: no sentence around the answer.",
    "Prefer the passage whose title the question names.",
)
_PROPOSAL = re.compile(r"instructions?$|^proposed_instruction|natural_language_rules|^(?:tip|advice)$")
_PREFIX = re.compile(r"prefix_for_output_field")
_ATTEMPT = re.compile(r"Instruction #\d+: (.+)")
_FENCED = re.compile(r"```\w*\n(.*?)\n```", re.DOTALL)


def advice(seed: str) -> str:
    """One sentence of advice, the same for the same seed text."""
    return ADVICE[blake2b(seed.encode(), digest_size=4).digest()[0] % len(ADVICE)]


def proposal(name: str, prompt: Prompt) -> str | None:
    """Value of an output field that wants an instruction, rules or an output prefix; None for any other field."""
    if _PREFIX.search(name):
        return "Answer:"
    if not _PROPOSAL.search(name):
        return None
    old = next(
        (value for key, value in prompt.inputs.items() if "instruction" in key and key != "previous_instructions"), ""
    )
    attempts = _ATTEMPT.findall(old)
    return _improved(attempts[-1] if attempts else old, prompt.raw)


def plain_proposal(text: str) -> str | None:
    """Answer to a free-text request for a new instruction in a code fence, as GEPA writes it; None for other texts."""
    fenced = _FENCED.search(text)
    if not fenced or not re.search(r"new instructions? .*```", text):
        return None
    return f"```\n{_improved(fenced[1], text)}\n```"


def _improved(old: str, seed: str) -> str:
    kept = old.strip().strip("«»").strip()
    fresh = [line for line in ADVICE if line not in kept] or list(ADVICE)
    chosen = fresh[blake2b(seed.encode(), digest_size=4).digest()[0] % len(fresh)]
    return f"{kept} {chosen}".strip()
