# SPDX-License-Identifier: Apache-2.0
"""Honest scores: metrics, an asynchronous evaluator with three outcomes, and the statistics to compare with.

dataset = read_dataset(Path("dev.jsonl"), inputs=["question"], outputs=["answer"])
result = await evaluate(invoke, dataset.examples, metric_named("exact-match"))
result.score, result.interval, result.n
compare(result, other).difference
"""

from slipway_server.evaluation.datasets import Dataset, LabelledExample, read_dataset
from slipway_server.evaluation.evaluator import Evaluation, EvaluatorConfig, Item, Outcome, compare, evaluate
from slipway_server.evaluation.metrics import METRICS, Metric, metric_named
from slipway_server.evaluation.statistics import Comparison, Interval

__all__ = [
    "METRICS",
    "Comparison",
    "Dataset",
    "Evaluation",
    "EvaluatorConfig",
    "Interval",
    "Item",
    "LabelledExample",
    "Metric",
    "Outcome",
    "compare",
    "evaluate",
    "metric_named",
    "read_dataset",
]
