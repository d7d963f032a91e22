# SPDX-License-Identifier: Apache-2.0
"""Programs as users write them, for tests: `programs:TwoHop` and so on. Retrieval is whatever the session has bound."""

from __future__ import annotations

import asyncio

import dspy

from slipway_server.retrieval import binding


class TutorialRAG(dspy.Module):
    """As older DSPy tutorials write it: `forward` only, and retrieval through dspy.Retrieve."""

    def __init__(self) -> None:
        super().__init__()
        self.retrieve = dspy.Retrieve(k=3)
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = self.retrieve(question).passages
        prediction = self.generate_answer(context=context, question=question)
        return dspy.Prediction(context=context, answer=prediction.answer)


class SearchesSometimes(TutorialRAG):
    """TutorialRAG, but a greeting is answered without a search."""

    def forward(self, question):
        if question == "Hello":
            return self.generate_answer(context=[], question=question)
        return super().forward(question)


class Renamed(dspy.Module):
    """TutorialRAG after a refactoring: another predictor, another field, another order."""

    def __init__(self) -> None:
        super().__init__()
        self.retrieve = dspy.Retrieve(k=3)
        self.reply = dspy.ChainOfThought("question, passages -> answer")

    def forward(self, question):
        return self.reply(passages=self.retrieve(question).passages, question=question)


class TwoHop(dspy.Module):
    """Two retrievals, the second with a query that the first one's passages suggest. `forward` only."""

    def __init__(self, hops: int = 2) -> None:
        super().__init__()
        self.hops = hops
        self.retrieve = dspy.Retrieve(k=2)
        self.generate_query = dspy.ChainOfThought("context, question -> query")
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = self.retrieve(question).passages
        for _ in range(self.hops - 1):
            query = self.generate_query(context=context, question=question).query
            context = list(dict.fromkeys([*context, *self.retrieve(query).passages]))
        return self.generate_answer(context=context, question=question)


class AsyncOnly(dspy.Module):
    """`aforward` only: retrieves and answers on the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("context: list[str], question: str -> answer: str")

    async def aforward(self, question: str):
        [passages] = await binding.search([question], 2)
        return await self.answer.acall(context=[passage.long_text for passage in passages], question=question)


class ForwardOnly(dspy.Module):
    """`forward` only, without retrieval."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question: str -> answer: str")

    def forward(self, question: str):
        return self.answer(question=question)


class Plain(dspy.Module):
    """One predictor, `forward` and `aforward`, without retrieval."""

    def __init__(self) -> None:
        super().__init__()
        self.generate = dspy.ChainOfThought("question: str -> answer: str")

    async def aforward(self, question: str):
        return await self.generate.acall(question=question)

    def forward(self, question: str):
        return self.generate(question=question)


async def search(query: str) -> list[str]:
    """Search the collection for passages about `query`."""
    [passages] = await binding.search([query], 2)
    return [passage.long_text for passage in passages]


def multiply(a: int, b: int) -> int:
    """Multiply two whole numbers."""
    return a * b


class Agent(dspy.ReAct):
    """A ReAct agent with a search tool and a calculator."""

    def __init__(self) -> None:
        super().__init__("question: str -> answer: str", tools=[search, multiply], max_iters=3)


class Failing(dspy.Module):
    """Raises an exception whose text no caller may see."""

    async def aforward(self, question: str):
        raise ValueError(f"secret of {question}")


class Hanging(dspy.Module):
    """Never answers."""

    async def aforward(self, question: str):
        await asyncio.get_running_loop().create_future()


class Versioned(dspy.Module):
    """Answers with the version that its artifact's instructions name; "fails when asked" does so, but for a dry run."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question: str -> answer: str")

    async def aforward(self, question: str):
        await self.answer.acall(question=question)
        version = self.answer.signature.instructions.removeprefix("version ")
        if version == "fails when asked" and "version" in question:
            raise ValueError("as asked")
        return dspy.Prediction(answer=version)
