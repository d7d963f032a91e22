# SPDX-License-Identifier: Apache-2.0
"""The forecast beside what then happens: the calls that it foretells are the calls that are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from artifact_drafts import draft

from slipway_server.artifacts import load, save
from slipway_server.config import Settings
from slipway_server.errors import CollectionMissing
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.request import RequestContext
from slipway_server.runtime.forecast import Forecast, forecast
from slipway_server.runtime.service import open_service
from slipway_server.runtime.session import open_session

SettingsWith = Callable[..., Settings]
Slipway = Callable[..., tuple[int, str, str]]
QUESTIONS = [{"question": f"Which island is number {n}?"} for n in range(6)]


def artifact(program: Any, instructions: str, folder: Path) -> Path:
    for predictor in program.predictors():
        predictor.signature = predictor.signature.with_instructions(instructions)
    return save(program, draft(f"programs:{type(program).__name__}"), folder / instructions.replace(" ", "-"))


def ask(settings: Settings, questions: list[dict[str, str]]) -> int:
    """Serve, ask, stop: LM calls that the questions made."""

    async def run() -> int:
        service = await open_service(settings, OwnerLoop.of_running_loop())
        try:
            answers = [await service.predict(question, RequestContext()) for question in questions]
        finally:
            await service.aclose()
        return sum(answer.receipt.lm_calls for answer in answers)

    return asyncio.run(run())


def foretold(settings: Settings, current: Path, new: Path, program: Any, questions: Any) -> Forecast:
    with open_session(settings) as session:
        return forecast(session, load(current, program).program, load(new, program).program, questions)


@pytest.mark.parametrize("program", [programs.AsyncOnly, programs.TutorialRAG, programs.ForwardOnly])
def test_as_many_calls_are_made_as_were_foretold(program: Any, settings_with: SettingsWith, tmp_path: Path) -> None:
    current, new = (artifact(program(), words, tmp_path) for words in ("Answer.", "Answer briefly."))
    settings = settings_with(program=f"programs:{program.__name__}", artifact=current)
    assert ask(settings, QUESTIONS[:4]) == 4
    found = foretold(settings, current, new, program, QUESTIONS)
    assert (found.questions, found.skipped, found.becomes_cold, found.cold) == (6, 0, 4, 6)
    assert (found.before.calls, found.after.calls, found.after.exact) == (2, 6, True)
    assert found.calls_per_minute(60) == pytest.approx((20.0, 60.0))
    assert ask(settings_with(program=settings.program, artifact=new), QUESTIONS) == found.after.calls
    again = foretold(settings, current, new, program, QUESTIONS)
    assert (again.becomes_cold, again.after.calls) == (0, 0)


def test_equal_prompts_stay_warm(settings_with: SettingsWith, tmp_path: Path) -> None:
    current, new = (artifact(programs.AsyncOnly(), "Answer.", tmp_path / side) for side in ("a", "b"))
    settings = settings_with(program="programs:AsyncOnly", artifact=current)
    ask(settings, QUESTIONS)
    found = foretold(settings, current, new, programs.AsyncOnly, QUESTIONS)
    assert (found.becomes_cold, found.after.calls) == (0, 0)


def test_a_question_that_comes_twice_is_cold_once(settings_with: SettingsWith, tmp_path: Path) -> None:
    current, new = (artifact(programs.AsyncOnly(), words, tmp_path) for words in ("Answer.", "Answer briefly."))
    settings = settings_with(program="programs:AsyncOnly", artifact=current)
    found = foretold(settings, current, new, programs.AsyncOnly, [QUESTIONS[0]] * 5)
    assert found.after.calls == found.before.calls == 1


def test_calls_after_the_first_miss_are_assumed(settings_with: SettingsWith, tmp_path: Path) -> None:
    current, new = (artifact(programs.TwoHop(), words, tmp_path) for words in ("Answer.", "Answer briefly."))
    settings = settings_with(program="programs:TwoHop", artifact=current)
    assert foretold(settings, current, new, programs.TwoHop, QUESTIONS).after.calls == 12
    made = ask(settings, QUESTIONS[:3])
    found = foretold(settings, current, new, programs.TwoHop, QUESTIONS)
    assert found.becomes_cold == 3
    assert not found.after.exact
    assert found.after.calls == 12
    assert made <= found.before.calls <= 12


def test_what_is_no_question_is_left_out(settings_with: SettingsWith, tmp_path: Path) -> None:
    current = artifact(programs.AsyncOnly(), "Answer.", tmp_path)
    settings = settings_with(program="programs:AsyncOnly", artifact=current)
    found = foretold(settings, current, current, programs.AsyncOnly, [QUESTIONS[0], {"question": ""}, {}, {"x": 1}])
    assert (found.questions, found.skipped, found.after.calls) == (1, 3, 1)


def test_without_its_collection_there_is_no_forecast(settings_with: SettingsWith, tmp_path: Path) -> None:
    current = artifact(programs.AsyncOnly(), "Answer.", tmp_path)
    settings = settings_with(program="programs:AsyncOnly", artifact=current, collection="nosuch")
    with pytest.raises(CollectionMissing):
        foretold(settings, current, current, programs.AsyncOnly, QUESTIONS)


def test_the_command(slipway: Slipway, settings_with: SettingsWith, tmp_path: Path) -> None:
    current, new = (str(artifact(programs.AsyncOnly(), words, tmp_path)) for words in ("Answer.", "Answer briefly."))
    (tmp_path / "questions.jsonl").write_bytes(b"\n".join(map(orjson.dumps, QUESTIONS)))
    asked = ("--questions", "questions.jsonl", "--program", "programs:AsyncOnly")
    ask(settings_with(program="programs:AsyncOnly", artifact=current), QUESTIONS)
    words = ("artifact", "forecast", new, "--current", current, *asked, "--rpm", "120")
    code, out, _ = slipway(*words, "--lm-rpm", "480")
    assert code == 0
    assert out.startswith("100.0 % of 6 questions become cold (6; 6 need the LM under the new artifact)\n")
    assert "+120.0 LM calls/min at 120 questions/min: 120.0 instead of 0.0\n25.0 % of the limit of 480" in out
    values = orjson.loads(slipway(*words, "--json")[1])
    assert (values["becomes_cold"], values["calls"], values["share_of_limit"]) == (6, 6, None)
    ask(settings_with(program="programs:AsyncOnly", artifact=new), QUESTIONS)
    assert orjson.loads(slipway(*words, "--json")[1])["calls"] == 0
    assert slipway("artifact", "forecast", new, *asked, "--rpm", "1")[0] == 2
