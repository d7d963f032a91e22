# SPDX-License-Identifier: Apache-2.0
"""The demonstration's program: plain DSPy, as tutorials write it, and nothing of Slipway.

Its signature says nothing of an answer's form. That is what compiling adds here: demos show that answers are short.
The reference program (`slipway_server.programs.rag:RAG`) says it in its instructions instead, and has `aforward`.
"""

from __future__ import annotations

import dspy


class Guide(dspy.Module):
    """Answers `question` from three passages."""

    def __init__(self) -> None:
        super().__init__()
        self.retrieve = dspy.Retrieve(k=3)
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """Retrieve and answer."""
        passages = self.retrieve(question).passages
        return self.generate_answer(context=passages, question=question)
