# SPDX-License-Identifier: Apache-2.0
"""The difference between what attempts were predicted to take and what they took."""

from __future__ import annotations

CARRIED_SECONDS = 5.0
"""Credit or debt is bounded to so many seconds of the limit."""


class Carry:
    """Debt (positive) or credit (negative) of one dimension, which the next attempts pay or use."""

    def __init__(self, rate_per_second: float) -> None:
        self._bound = rate_per_second * CARRIED_SECONDS
        self._balance = 0.0

    def due(self, amount: float) -> float:
        """What `amount` costs with the balance; never negative."""
        return max(0.0, amount + self._balance)

    def take(self, amount: float) -> float:
        """As `due`, and the balance is used up accordingly."""
        due = amount + self._balance
        if due <= 0.0:
            self._balance = due
            return 0.0
        self._balance = 0.0
        return due

    def settle(self, excess: float) -> None:
        """An attempt took `excess` more than predicted (less where negative)."""
        self._balance = min(self._bound, max(-self._bound, self._balance + excess))
