# SPDX-License-Identifier: Apache-2.0
"""`slipway compile` and `slipway evaluate` in processes of their own, and what they say to wrong input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from compiling import DATA, slipway

from slipway_server.cli import main
from slipway_server.config import Settings
from slipway_server.telemetry import logs

SettingsWith = Callable[..., Settings]
DATASETS = ("--train", str(DATA / "train.jsonl"), "--dev", str(DATA / "dev.jsonl"))
COLLECTION = "isles"
PROGRAM = ("--program", "programs:TutorialRAG")


InProcess = Callable[..., tuple[int, str, str]]


@pytest.fixture
def in_process(
    isles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> InProcess:
    """`in_process("compile", …)` → exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(isles))
    monkeypatch.setenv("SLIPWAY_COLLECTION", COLLECTION)
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.setattr(logs, "configure", lambda level, style: None)  # it would replace pytest's own handlers

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["slipway", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_compile_promote_evaluate(settings_with: SettingsWith, tmp_path: Path) -> None:
    settings = settings_with()
    few_shot = ("--optimizer", "labeled-few-shot", "--set", "k=4", "--metric", "token-f1")
    done = slipway("compile", *PROGRAM, *DATASETS, *few_shot, "--promote", settings=settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "uncompiled" in done.stdout
    assert "difference +0." in done.stdout
    assert "current: artifacts/tutorialrag-" in done.stdout
    score = ("evaluate", *PROGRAM, "--dev", str(DATA / "dev.jsonl"), "--metric", "token-f1", "--json")
    compiled = orjson.loads(slipway(*score, "--artifact", "artifacts", settings=settings, cwd=tmp_path).stdout)
    uncompiled = orjson.loads(slipway(*score, settings=settings, cwd=tmp_path).stdout)
    assert uncompiled["artifact"] == "uncompiled"
    assert compiled["artifact"] in done.stdout
    assert compiled["score"] > uncompiled["score"]
    assert f"{uncompiled['score']:.3f} ({uncompiled['interval'][0]:.3f}" in done.stdout
    assert f"{compiled['score']:.3f} ({compiled['interval'][0]:.3f}" in done.stdout


def test_json_and_a_foreign_artifact(in_process: InProcess) -> None:
    few_shot = ("--optimizer", "labeled-few-shot", "--set", "k=2", "--metric", "token-f1")
    code, out, err = in_process("compile", *PROGRAM, *DATASETS, *few_shot, "--promote", "--json")
    assert code == 0
    values = orjson.loads(out)
    assert "━" not in err
    assert values["difference"]["score"] == pytest.approx(values["compiled"]["score"] - values["uncompiled"]["score"])
    assert values["artifact"].endswith(f"{values['digest'][:8]}.json")
    assert values["compiled"]["parse_errors"] == values["compiled"]["infrastructure_errors"] == 0
    words = ("evaluate", "--program", "programs:TwoHop", "--artifact", "artifacts", "--dev", str(DATA / "dev.jsonl"))
    code, _, err = in_process(*words)
    assert code == 2
    assert "is of another program: it lacks generate_query.predict" in err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--optimizer", "nosuch"), "unknown optimizer 'nosuch'"),
        (("--set", "nosuch=1"), "has no setting 'nosuch'"),
        (("--set", "k"), "not of the form key=value"),
        (("--metric", "nosuch"), "unknown metric 'nosuch'"),
        (("--program", "nosuch.module:Program"), "module nosuch is not installed"),
        (("--program", "dspy:ChainOfThought"), "ChainOfThought() failed with TypeError"),
        (("--collection", "nosuch"), "nosuch"),
        (("--dev", "nosuch.jsonl"), "nosuch.jsonl: no such file"),
        (("--out", "bad.jsonl/artifacts"), "bad.jsonl is no folder that can be written"),
        (("--log-dir", "bad.jsonl"), "bad.jsonl is no folder that can be written"),
        (("--bundle", "bad.jsonl/bundle"), "bad.jsonl is no folder that can be written"),
        (("--dev", "bad.jsonl"), "bad.jsonl:2: field 'question': "),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], hint: str, in_process: InProcess, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": 7, "answer": "a"}\n')
    code, _, err = in_process("compile", *PROGRAM, *DATASETS, *words)
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("slipway: ")]
    assert hint in line
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("words", [("evaluate", "--dev", str(DATA / "dev.jsonl")), ("reevaluate",)])
def test_a_program_that_cannot_be_made_is_one_line(words: tuple[str, ...], in_process: InProcess) -> None:
    code, _, err = in_process(*words, "--program", "dspy:ChainOfThought")
    assert code == 2
    assert err.startswith("slipway: ChainOfThought() failed with TypeError")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("release", "hint"), [("", "--publish needs SLIPWAY_LOOP_RELEASE"), ("shop", "this is no pod")]
)
def test_recompile_says_before_it_spends_anything_that_it_cannot_publish(
    release: str, hint: str, in_process: InProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if release:
        monkeypatch.setenv("SLIPWAY_LOOP_RELEASE", release)
    code, _, err = in_process("recompile", "--bundle", str(tmp_path), "--publish")
    assert code == 2
    assert hint in err


def test_a_limit_of_cost_without_prices_is_refused(in_process: InProcess, tmp_path: Path) -> None:
    code, _, err = in_process("recompile", "--bundle", str(tmp_path), "--max-cost-usd", "20")
    assert (code, err) == (2, "slipway: --max-cost-usd needs SLIPWAY_LM_PRICES: no cost is known\n")
