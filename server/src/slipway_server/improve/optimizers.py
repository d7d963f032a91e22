# SPDX-License-Identifier: Apache-2.0
"""DSPy's optimizers by name: which class, what it gets, what may be set, and how much it runs."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
import orjson

from slipway_server.errors import ConfigInvalid

THRESHOLD = 0.66
"""Score from which a bootstrapped trace is good enough for a demo; dspy.evaluate.SemanticF1's default."""

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """What an optimizer works on. It selects on `selection`; the dev set is never shown to it."""

    program: dspy.Module
    train: Sequence[dspy.Example]
    selection: Sequence[dspy.Example]
    metric: Callable[..., float]
    feedback_metric: Callable[..., Any]
    lm: Any
    seed: int
    log_dir: Path
    threads: int


def _nothing(task: Task) -> dict[str, Any]:
    return {}


def _unknown(task: Task, settings: Settings) -> int | None:
    return None


def _no_defaults(task: Task, settings: Settings) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Optimizer:
    """One optimizer: `constructor` and `compile` give the arguments that are ours, `defaults` those that users may set.

    `selects`: it compares candidates, so part of the train set is kept for that. `bootstraps`: it looks for traces.
    `runs`: about how often it runs the program, for the progress bar.
    """

    path: str
    constructor: Callable[[Task], dict[str, Any]] = _nothing
    compile: Callable[[Task], dict[str, Any]] = _nothing
    defaults: Callable[[Task, Settings], dict[str, Any]] = _no_defaults
    selects: bool = False
    bootstraps: bool = False
    runs: Callable[[Task, Settings], int | None] = _unknown
    needs: str = ""
    """Python package outside the base installation."""

    def load(self) -> type[Any]:
        """The DSPy class. Raises ConfigInvalid where a package is missing."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise ConfigInvalid(f"this optimizer needs {self.needs}: pip install 'slipway-server[compile]'")
        module, _, name = self.path.rpartition(".")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    def check(self, name: str, settings: Settings) -> None:
        """Raise ConfigInvalid for a setting that the optimizer does not have."""
        cls = self.load()
        known = _settable(cls.__init__) | _settable(cls.compile)
        unknown = sorted(settings.keys() - known)
        if unknown:
            raise ConfigInvalid(f"{name} has no setting '{unknown[0]}'; it has {', '.join(sorted(known)) or 'none'}")

    def run(self, task: Task, settings: Settings) -> dspy.Module:
        """Compile `task.program`; raises whatever the optimizer raises."""
        cls, merged = self.load(), {**self.defaults(task, settings), **settings}
        of_constructor = _settable(cls.__init__)
        init = {key: value for key, value in merged.items() if key in of_constructor}
        compiling = {key: value for key, value in merged.items() if key not in of_constructor}
        optimizer = cls(**{**init, **self.constructor(task)})
        return optimizer.compile(task.program, trainset=list(task.train), **{**compiling, **self.compile(task)})


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["max_rounds=4", "auto=light"]` as values: JSON where it is, text otherwise. Raises ConfigInvalid."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not (separator and key.isidentifier()):
            raise ConfigInvalid(f"--set {pair}: is not of the form key=value")
        try:
            settings[key] = orjson.loads(text)
        except orjson.JSONDecodeError:
            settings[key] = text
    return settings


def find(name: str) -> Optimizer:
    """The optimizer called `name`. Raises ConfigInvalid."""
    if name not in OPTIMIZERS:
        raise ConfigInvalid(f"unknown optimizer '{name}'; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


_OURS = frozenset(
    {"self", "student", "teacher", "trainset", "valset", "metric", "seed", "log_dir", "num_threads", "prompt_model"}
    | {"task_model", "reflection_lm", "teacher_settings", "eval_kwargs", "max_errors", "requires_permission_to_run"}
    | {"instruction_proposer", "code_proposer", "use_wandb", "wandb_api_key", "wandb_init_kwargs", "use_mlflow"}
)
"""Arguments that Slipway gives, or that cannot be given as text."""


def _settable(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    named = {item.name for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)}
    return named - _OURS


def _metric(task: Task) -> dict[str, Any]:
    return {"metric": task.metric}


def _valset(task: Task) -> dict[str, Any]:
    return {"valset": list(task.selection)}


def _threshold(task: Task, settings: Settings) -> dict[str, Any]:
    return {"metric_threshold": THRESHOLD}


def _simba_defaults(task: Task, settings: Settings) -> dict[str, Any]:
    return {"bsize": min(32, len(task.train))}


def _saves(program: dspy.Module) -> bool:
    """Whether DSPy can save it, as MIPRO does with every candidate: with a dspy.Retrieve, save() raises TypeError."""
    return not any(isinstance(parameter, dspy.Retrieve) for _, parameter in program.named_parameters())


def _gepa_defaults(task: Task, settings: Settings) -> dict[str, Any]:
    return {} if settings.keys() & {"max_metric_calls", "max_full_evals"} else {"auto": "light"}


def _number(settings: Settings, key: str, default: int) -> int:
    """A setting for an estimate; a wrong type is the optimizer's to refuse."""
    value = settings.get(key, default)
    return value if isinstance(value, int) else default


def _bootstrap_runs(task: Task, settings: Settings) -> int:
    return len(task.train) * _number(settings, "max_rounds", 1)


def _search_runs(task: Task, settings: Settings) -> int:
    candidates = _number(settings, "num_candidate_programs", 16)
    demos = _number(settings, "max_bootstrapped_demos", 4)
    return (candidates + 3) * len(task.selection) + (candidates + 1) * min(len(task.train), 2 * demos)


def _simba_runs(task: Task, settings: Settings) -> int:
    batch = _number(settings, "bsize", min(32, len(task.train)))
    candidates = _number(settings, "num_candidates", 6)
    return _number(settings, "max_steps", 8) * batch * 2 * candidates + (candidates + 1) * len(task.train)


def _gepa_runs(task: Task, settings: Settings) -> int | None:
    return _number(settings, "max_metric_calls", 0) or None


def _copro_runs(task: Task, settings: Settings) -> int:
    rounds = _number(settings, "depth", 3) * _number(settings, "breadth", 10)
    return rounds * len(task.program.predictors()) * len(task.train)


OPTIMIZERS: dict[str, Optimizer] = {
    "labeled-few-shot": Optimizer("dspy.teleprompt.LabeledFewShot", runs=lambda task, settings: 0),
    "bootstrap-few-shot": Optimizer(
        "dspy.teleprompt.BootstrapFewShot",
        constructor=_metric,
        defaults=_threshold,
        bootstraps=True,
        runs=_bootstrap_runs,
    ),
    "bootstrap-random-search": Optimizer(
        "dspy.teleprompt.BootstrapFewShotWithRandomSearch",
        constructor=lambda task: {"metric": task.metric, "num_threads": task.threads},
        compile=_valset,
        defaults=_threshold,
        selects=True,
        bootstraps=True,
        runs=_search_runs,
    ),
    "mipro-v2": Optimizer(
        "dspy.teleprompt.MIPROv2",
        constructor=lambda task: {
            "metric": task.metric,
            "prompt_model": task.lm,
            "task_model": task.lm,
            "seed": task.seed,
            "num_threads": task.threads,
            "log_dir": str(task.log_dir) if _saves(task.program) else None,
            "track_stats": False,
        },
        compile=_valset,
        defaults=_threshold,
        selects=True,
        bootstraps=True,
        needs="optuna",
    ),
    "simba": Optimizer(
        "dspy.teleprompt.SIMBA",
        constructor=lambda task: {"metric": task.metric, "prompt_model": task.lm, "num_threads": task.threads},
        compile=lambda task: {"seed": task.seed},
        defaults=_simba_defaults,
        runs=_simba_runs,
    ),
    "gepa": Optimizer(
        "dspy.teleprompt.GEPA",
        constructor=lambda task: {
            "metric": task.feedback_metric,
            "reflection_lm": task.lm,
            "num_threads": task.threads,
            "log_dir": str(task.log_dir),
            "seed": task.seed,
        },
        compile=_valset,
        defaults=_gepa_defaults,
        selects=True,
        runs=_gepa_runs,
    ),
    "copro": Optimizer(
        "dspy.teleprompt.COPRO",
        constructor=lambda task: {"metric": task.metric, "prompt_model": task.lm},
        compile=lambda task: {"eval_kwargs": {"num_threads": task.threads, "display_progress": False}},
        runs=_copro_runs,
    ),
}
"""Name on the command line → optimizer. All read in dspy 3.4.1."""
