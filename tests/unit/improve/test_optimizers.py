# SPDX-License-Identifier: Apache-2.0
"""Every optimizer of DSPy, for real, on a scripted LM."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import programs
import pytest
from dspy.utils.dummies import DummyLM
from dspy.utils.exceptions import LMServerError

from slipway_server.artifacts.state import AUGMENTED
from slipway_server.errors import CompileFailed, ConfigInvalid, ProviderAuth, ProviderUnavailable, RunVoid
from slipway_server.evaluation import LabelledExample, Metric, metric_named
from slipway_server.improve.optimize import LOG_NAME, Optimized, optimize, split, with_feedback
from slipway_server.improve.optimizers import OPTIMIZERS, Task, find, parse_settings

ANSWER = "generate.predict"
PROPOSALS = {
    "reasoning": "r",
    "answer": "?",
    "proposed_instruction": "Add the numbers.",
    "improved_instruction": "Add the numbers.",
    "proposed_prefix_for_output_field": "Sum:",
    "observations": "sums",
    "summary": "sums",
    "program_description": "adds",
    "module_description": "adds",
    "discussion": "d",
    "module_advice": "{}",
}
"""What the scripted LM says to an optimizer's own questions."""

QUICK: dict[str, dict[str, Any]] = {
    "labeled-few-shot": {"k": 3},
    "bootstrap-few-shot": {"max_bootstrapped_demos": 2, "max_labeled_demos": 3},
    "bootstrap-random-search": {"num_candidate_programs": 2, "max_labeled_demos": 2},
    "mipro-v2": {},
    "simba": {"max_steps": 1, "num_candidates": 2},
    "gepa": {"max_metric_calls": 30},
    "copro": {"breadth": 2, "depth": 1},
}


def train(n: int = 8) -> list[LabelledExample]:
    return [
        LabelledExample(question=f"{i}+{i}", answer=str(2 * i), dspy_extra={"level": "easy"}).with_inputs("question")
        for i in range(1, n + 1)
    ]


class Scripted(DummyLM):
    """Right about odd numbers; with `failing`, the provider is away for some questions."""

    def __init__(self, *, right: bool = True, failing: Exception | None = None) -> None:
        answers = {f"{i}+{i}": {**PROPOSALS, "answer": str(2 * i) if i % 2 and right else "no"} for i in range(1, 99)}
        super().__init__({**answers, "": PROPOSALS})
        self.failing = failing

    def __deepcopy__(self, memo: Any) -> Scripted:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.failing is not None:
            raise self.failing
        return super().__call__(*args, **kwargs)


@pytest.fixture
def lm() -> Iterator[Scripted]:
    scripted = Scripted()
    with dspy.context(lm=scripted, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        yield scripted


def task(name: str, folder: Path, metric: Metric, program: Any = None, examples: Any = None) -> Task:
    kept, selection = split(examples or train(), 1, selects=find(name).selects)
    return Task(
        program=program or programs.Plain(),
        train=kept,
        selection=selection,
        metric=metric,
        feedback_metric=with_feedback(metric),
        lm=dspy.settings.lm,
        seed=1,
        log_dir=folder,
        threads=2,
    )


def run(name: str, folder: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Optimized:
    metric = metric_named("exact-match")
    chosen = QUICK[name] if settings is None else settings
    return optimize(find(name), task(name, folder, metric, **changes), chosen, metric)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_compiles(name: str, lm: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    find(name).check(name, QUICK[name])
    program = programs.Plain()
    done = run(name, tmp_path, program=program)
    assert ANSWER in done.state
    assert program.generate.predict.demos == []
    assert "".join(capsys.readouterr()) == ""
    assert (tmp_path / LOG_NAME).exists()
    assert done.runs > 0 or name == "labeled-few-shot"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_compiles_a_program_with_a_retriever_of_its_own(
    name: str, lm: Scripted, tmp_path: Path
) -> None:
    """As older tutorials write it; DSPy cannot save such a program."""
    with dspy.context(rm=lambda query, k, **_: [dspy.Example(long_text="a passage")] * k):
        done = run(name, tmp_path, program=programs.TutorialRAG())
    assert {"retrieve", "generate_answer.predict"} < done.state.keys()


def test_bootstrapped_demos_come_from_right_answers(lm: Scripted, tmp_path: Path) -> None:
    demos = run("bootstrap-few-shot", tmp_path).state[ANSWER]["demos"]
    bootstrapped = [demo for demo in demos if demo.get(AUGMENTED)]
    assert len(bootstrapped) == 2
    assert all(int(demo["question"].split("+")[0]) % 2 for demo in bootstrapped)
    assert all(demo["reasoning"] == "r" for demo in bootstrapped)
    assert all("level" not in demo for demo in demos)


def test_instructions_that_do_better_are_kept(lm: Scripted, tmp_path: Path) -> None:
    assert run("copro", tmp_path).state[ANSWER]["signature"]["instructions"] == "Add the numbers."


def test_the_same_seed_gives_the_same_program(lm: Scripted, tmp_path: Path) -> None:
    first, second = run("bootstrap-few-shot", tmp_path / "a"), run("bootstrap-few-shot", tmp_path / "b")
    assert first.state == second.state
    assert [e.question for e in split(train(), 1, selects=False)[0]] != [
        e.question for e in split(train(), 2, selects=False)[0]
    ]


def test_candidates_are_selected_on_examples_of_their_own() -> None:
    kept, selection = split(train(9), 3, selects=True)
    assert len(kept) == 5
    assert len(selection) == 4
    assert {e.question for e in kept} | {e.question for e in selection} == {e.question for e in train(9)}
    assert len(split(train(50) * 20, 3, selects=True)[1]) == 300
    with pytest.raises(CompileFailed, match="two training examples"):
        split(train(1), 0, selects=True)


@pytest.mark.parametrize("name", ["bootstrap-few-shot", "bootstrap-random-search", "mipro-v2"])
def test_nothing_bootstrapped_fails_and_says_why(name: str, tmp_path: Path) -> None:
    with (
        dspy.context(lm=Scripted(right=False), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
        pytest.raises(
            CompileFailed, match=r"bootstrapped 0 traces: metric 'exact-match' passed none of .* answers"
        ) as caught,
    ):
        run(name, tmp_path)
    if name == "bootstrap-few-shot":
        assert "'generate.predict' would be left with 3 labelled demos without reasoning" in caught.value.message


def test_nothing_bootstrapped_because_no_answer_can_be_parsed(tmp_path: Path) -> None:
    lm = DummyLM([{"nonsense": "x"}] * 50)
    with (
        dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
        pytest.raises(CompileFailed, match=r"all 8 runs failed \(8 × ANSWER_UNPARSEABLE\)"),
    ):
        run("bootstrap-few-shot", tmp_path)


class CopiesItself(programs.Plain):
    """Runs a copy of its module, so that DSPy cannot tell whose trace it is."""

    def forward(self, question: str) -> Any:
        return self.generate.deepcopy()(question=question)


def test_nothing_bootstrapped_because_the_program_runs_copies(lm: Scripted, tmp_path: Path) -> None:
    with pytest.raises(CompileFailed, match="does it run copies of its modules"):
        run("bootstrap-few-shot", tmp_path, program=CopiesItself())


def test_asking_for_labelled_demos_only_expects_no_traces(tmp_path: Path) -> None:
    with dspy.context(lm=Scripted(right=False)):
        done = run("bootstrap-few-shot", tmp_path, {"max_bootstrapped_demos": 0, "max_labeled_demos": 2})
    assert len(done.state[ANSWER]["demos"]) == 2


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "labeled-few-shot"])
def test_an_outage_makes_it_void_and_stops_it(name: str, tmp_path: Path) -> None:
    Away.runs = 0
    settings = {**QUICK[name], **({"max_steps": 50} if name == "simba" else {})}
    with (
        dspy.context(lm=Scripted(), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
        pytest.raises(RunVoid, match=r"infrastructure reasons \(PROVIDER_UNAVAILABLE\), more than 2%"),
    ):
        run(name, tmp_path, settings, program=Away())
    assert 0 < Away.runs < 20


class Away(programs.Plain):
    """A program whose LM does not answer, while the optimizer's own questions are answered."""

    runs = 0

    def forward(self, question: str) -> Any:
        Away.runs += 1
        raise LMServerError("503")


def test_a_refused_key_stops_it_at_once(tmp_path: Path) -> None:
    class Refused(programs.Plain):
        def forward(self, question: str) -> Any:
            raise ProviderAuth("the provider refuses the API key")

    with dspy.context(lm=Scripted()), pytest.raises(ProviderAuth):
        run("bootstrap-few-shot", tmp_path, program=Refused())


def test_an_outage_in_the_optimizers_own_questions(tmp_path: Path) -> None:
    with dspy.context(lm=Scripted(failing=LMServerError("503"))), pytest.raises(ProviderUnavailable):
        run("copro", tmp_path)


def test_an_optimizer_that_refuses_its_task(lm: Scripted, tmp_path: Path) -> None:
    with pytest.raises(CompileFailed, match="the optimizer gave up: AssertionError: Trainset too small: 8 < 100"):
        run("simba", tmp_path, {"bsize": 100})


@pytest.mark.parametrize(
    ("name", "settings", "hint"),
    [
        ("copro", {"bredth": 3}, "copro has no setting 'bredth'; it has breadth, depth, init_temperature"),
        ("labeled-few-shot", {"metric": "x"}, "has no setting 'metric'"),
        ("mipro-v2", {"seed": 3}, "has no setting 'seed'"),
        ("gepa", {"reflection_lm": "x"}, "has no setting 'reflection_lm'"),
    ],
)
def test_a_setting_that_there_is_not(name: str, settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        find(name).check(name, settings)
    assert hint in caught.value.message


def test_an_optimizer_that_there_is_not() -> None:
    with pytest.raises(ConfigInvalid, match="there are labeled-few-shot, bootstrap-few-shot"):
        find("nosuch")


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigInvalid, match="needs optuna"):
        find("mipro-v2").check("mipro-v2", {})


def test_every_argument_that_is_ours_exists(tmp_path: Path, lm: Scripted) -> None:
    """A renamed argument of DSPy would otherwise show in a compilation only."""
    for name, optimizer in OPTIMIZERS.items():
        cls, made = optimizer.load(), task(name, tmp_path, metric_named("exact-match"))
        assert optimizer.constructor(made).keys() <= inspect.signature(cls.__init__).parameters.keys()
        assert optimizer.compile(made).keys() <= inspect.signature(cls.compile).parameters.keys()
        assert optimizer.defaults(made, {}).keys() <= inspect.signature(cls.__init__).parameters.keys()


@pytest.mark.parametrize(
    ("text", "value"), [("k=4", 4), ("auto=light", "light"), ("auto=null", None), ("a=[1,2]", [1, 2]), ("a=b=c", "b=c")]
)
def test_settings_are_json_or_text(text: str, value: Any) -> None:
    assert list(parse_settings([text]).values()) == [value]


@pytest.mark.parametrize("text", ["k", "=4", "a-b=1", ""])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="not of the form key=value"):
        parse_settings([text])


def test_feedback_tells_what_was_expected() -> None:
    judged = with_feedback(metric_named("exact-match"))
    words = judged(train()[0], dspy.Prediction(answer="5")).feedback
    assert words == "Score 0.00. Expected answer = '2'; the program answered answer = '5'."
    own = Metric("own", lambda e, p, t=None: dspy.Prediction(score=1.0, feedback="mine"))
    assert with_feedback(own)(train()[0], dspy.Prediction()).feedback == "mine"


def test_gepa_goes_on_from_its_log_folder(lm: Scripted, tmp_path: Path) -> None:
    first = run("gepa", tmp_path)
    second = run("gepa", tmp_path)
    assert second.runs < first.runs / 2
    assert second.state == first.state
