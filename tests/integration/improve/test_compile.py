# SPDX-License-Identifier: Apache-2.0
"""Compile, save, restart, load: the whole way, with programs of every kind and a real collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import programs
import pytest
from compiling import DATA, FEW_SHOT, compiled, plan, slipway

from slipway_server.artifacts import load
from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.evaluation import evaluate, metric_named
from slipway_server.improve.compile import compile_program
from slipway_server.improve.data import dataset_for
from slipway_server.retrieval.embedders import FUSED
from slipway_server.runtime.session import open_session

KINDS = ["TutorialRAG", "TwoHop", "Agent", "AsyncOnly"]

SettingsWith = Callable[..., Settings]


@pytest.mark.parametrize("kind", KINDS)
def test_any_program_compiles_saves_and_scores_the_same_after_a_restart(
    kind: str, settings_with: SettingsWith, tmp_path: Path
) -> None:
    settings = settings_with(program=f"programs:{kind}")
    outcome = compiled(settings, tmp_path)
    assert outcome.compiled.score > outcome.uncompiled.score + 0.2
    assert outcome.comparison.interval.low > 0
    assert outcome.comparison.p < 0.05
    assert outcome.compiled.prompt_tokens > outcome.uncompiled.prompt_tokens > 0
    done = slipway(
        *("evaluate", "--program", f"programs:{kind}", "--artifact", str(outcome.path), "--metric", "token-f1"),
        *("--dev", str(DATA / "dev.jsonl"), "--json"),
        settings=settings,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    again = orjson.loads(done.stdout)
    assert again["score"] == outcome.compiled.score
    assert again["interval"] == list(outcome.compiled.interval)
    assert again["n"] == outcome.compiled.n == 42
    assert again["prompt_tokens"] == outcome.compiled.prompt_tokens
    assert again["digest"] == outcome.manifest.digest


def test_the_manifest_says_where_it_comes_from(settings_with: SettingsWith, tmp_path: Path) -> None:
    settings = settings_with(program="programs:TwoHop")
    outcome = compiled(settings, tmp_path)
    manifest = load(outcome.path, programs.TwoHop).manifest
    assert manifest.digest == outcome.manifest.digest != ""
    assert manifest.program == "programs:TwoHop"
    assert set(manifest.predictors) == {"generate_query.predict", "generate_answer.predict"}
    assert manifest.optimizer.settings == FEW_SHOT
    assert manifest.optimizer.seed == 1
    assert manifest.retrieval.k == 2
    assert manifest.retrieval.collection_version.startswith("isles-")
    assert manifest.retrieval.embedder == FUSED
    assert manifest.lm is not None
    assert manifest.lm.name == "offline/extractive"
    assert manifest.data["train"].examples == len(plan(programs.TwoHop(), tmp_path).train.examples)
    assert manifest.compiled is not None
    assert manifest.compiled.score == outcome.compiled.score
    assert manifest.uncompiled is not None
    assert outcome.path.name.split("-")[0] == "twohop"
    assert f"token-f1_{outcome.compiled.score:.3f}-{manifest.digest[:8]}.json" in outcome.path.name


def test_the_same_plan_gives_the_same_state(settings_with: SettingsWith, tmp_path: Path) -> None:
    first = compiled(settings_with(program="programs:TwoHop"), tmp_path / "a")
    second = compiled(settings_with(program="programs:TwoHop"), tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.compiled.scores == second.compiled.scores
    assert len(list((tmp_path / "a" / "logs").iterdir())) == 1
    assert [p.name for p in (tmp_path / "a" / "logs").iterdir()] == [
        p.name for p in (tmp_path / "b" / "logs").iterdir()
    ]


def test_progress_is_reported_by_stage(settings_with: SettingsWith, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int | None]]] = {}
    with open_session(settings_with(program="programs:TutorialRAG")) as session:
        work = plan(session.new_program(), tmp_path)
        compile_program(session, work, lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    assert list(seen) == ["uncompiled", "bootstrap-few-shot", "compiled"]
    assert seen["uncompiled"][-1] == seen["compiled"][-1] == (42, 42)
    assert seen["bootstrap-few-shot"][-1][0] > 0
    assert all(counts == sorted(counts) for counts in ([done for done, _ in stage] for stage in seen.values()))


def test_a_wrong_setting_is_found_before_anything_runs(settings_with: SettingsWith, tmp_path: Path) -> None:
    seen: list[str] = []
    with open_session(settings_with(program="programs:TutorialRAG")) as session:
        work = plan(session.new_program(), tmp_path, settings={"max_demos": 2})
        with pytest.raises(ConfigInvalid, match="no setting 'max_demos'"):
            compile_program(session, work, lambda stage, done, total: seen.append(stage))
    assert seen == []


def test_a_loaded_program_serves_in_a_fresh_session(settings_with: SettingsWith, tmp_path: Path) -> None:
    settings = settings_with(program="programs:AsyncOnly")
    outcome = compiled(settings, tmp_path)
    with open_session(settings) as session:
        program = load(outcome.path, session.program_class).program
        examples = dataset_for(program, DATA / "dev.jsonl").examples
        result = session.run(evaluate(session.invoker(program), examples, metric_named("token-f1")))
    assert result.scores == outcome.compiled.scores
