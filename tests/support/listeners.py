# SPDX-License-Identifier: Apache-2.0
"""DSPy callbacks as an operator may add them: `SLIPWAY_CALLBACKS=listeners:Counting`."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from dspy.utils.callback import BaseCallback


class Counting(BaseCallback):
    """Counts the events of the instance that was made last."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        Counting.seen = Counter()

    def on_module_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        Counting.seen["module"] += 1

    def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        Counting.seen["lm"] += 1


class Needy(BaseCallback):
    """Cannot be made without an argument."""

    def __init__(self, place: str) -> None:
        self.place = place
