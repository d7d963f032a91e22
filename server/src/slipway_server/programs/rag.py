# SPDX-License-Identifier: Apache-2.0
"""The reference program: retrieve k passages, think step by step, answer.

slipway serve --program slipway_server.programs.rag:RAG --artifact artifacts/rag-….json
"""

from __future__ import annotations

import dspy

from slipway_server.retrieval import binding


class AnswerFromPassages(dspy.Signature):
    """Answer the question from the passages, in as few words as they allow."""

    context: list[str] = dspy.InputField(desc="passages that may hold the answer, best first")
    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="a short answer, without explanation")


class RAG(dspy.Module):
    """Answers `question` from exactly `k` passages of the bound collection.

    Outputs: `reasoning`, `answer`. The module holds neither retriever nor client: an optimizer copies modules at will.

    Args:
        k: Passages per question; None means SLIPWAY_RETRIEVAL_K (3).
    """

    def __init__(self, k: int | None = None) -> None:
        super().__init__()
        self.k = k
        self.generate_answer = dspy.ChainOfThought(AnswerFromPassages)

    async def aforward(self, question: str) -> dspy.Prediction:
        """Retrieve and answer."""
        [passages] = await binding.search([question], self.k)
        return await self.generate_answer.acall(context=[p.long_text for p in passages], question=question)

    def forward(self, question: str) -> dspy.Prediction:
        """The same for callers without an event loop: optimizers and notebooks."""
        [passages] = binding.search_from_thread([question], self.k)
        return self.generate_answer(context=[p.long_text for p in passages], question=question)
