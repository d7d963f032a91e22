# SPDX-License-Identifier: Apache-2.0
"""`slipway compile` and `slipway evaluate` in processes of their own, and what they say to wrong input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from compiling import DATA, slipway

from slipway_server.config import Settings

SettingsWith = Callable[..., Settings]
DATASETS = ("--train", str(DATA / "train.jsonl"), "--dev", str(DATA / "dev.jsonl"))
PROGRAM = ("--program", "programs:TutorialRAG")


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
    again = slipway("compile", *PROGRAM, *DATASETS, *few_shot, "--json", settings=settings, cwd=tmp_path)
    assert again.stderr.count("\n") <= 4
    assert orjson.loads(again.stdout)["compiled"]["score"] == compiled["score"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--optimizer", "nosuch"), "unknown optimizer 'nosuch'"),
        (("--set", "nosuch=1"), "has no setting 'nosuch'"),
        (("--set", "k"), "not of the form key=value"),
        (("--metric", "nosuch"), "unknown metric 'nosuch'"),
        (("--program", "nosuch.module:Program"), "module nosuch is not installed"),
        (("--collection", "nosuch"), "nosuch"),
        (("--dev", "nosuch.jsonl"), "nosuch.jsonl: no such file"),
        (("--dev", "bad.jsonl"), "bad.jsonl:2: field 'question': "),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], hint: str, settings_with: SettingsWith, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": 7, "answer": "a"}\n')
    done = slipway("compile", *PROGRAM, *DATASETS, *words, settings=settings_with(), cwd=tmp_path)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("slipway: ")]
    assert hint in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_evaluating_a_foreign_artifact_is_refused(settings_with: SettingsWith, tmp_path: Path) -> None:
    settings = settings_with()
    options = ("--optimizer", "labeled-few-shot", "--set", "k=2", "--metric", "token-f1", "--promote", "--json")
    assert slipway("compile", *PROGRAM, *DATASETS, *options, settings=settings, cwd=tmp_path).returncode == 0
    words = ("evaluate", "--program", "programs:TwoHop", "--artifact", "artifacts", "--dev", str(DATA / "dev.jsonl"))
    done = slipway(*words, settings=settings, cwd=tmp_path)
    assert done.returncode == 2
    assert "is of another program: it lacks generate_query.predict" in done.stderr
