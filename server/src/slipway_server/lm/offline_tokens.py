# SPDX-License-Identifier: Apache-2.0
"""Tokens without a tokenizer: one per four characters, the usual rule of thumb for English. An estimate."""

from __future__ import annotations

CHARACTERS_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
