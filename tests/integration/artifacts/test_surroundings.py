# SPDX-License-Identifier: Apache-2.0
"""What an artifact meets is compared with what it was compiled with, also where that is known only later."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import programs
import pytest
from artifact_drafts import draft

from slipway_server.artifacts import save
from slipway_server.artifacts.manifest import Dataset, Retrieval
from slipway_server.config import Settings
from slipway_server.lm.bridge import OwnerLoop
from slipway_server.runtime.service import open_service
from slipway_server.runtime.session import open_session

SettingsWith = Callable[..., Settings]
Slipway = Callable[..., tuple[int, str, str]]
PROGRAM = "programs:AsyncOnly"


@pytest.fixture
def here(settings_with: SettingsWith) -> Retrieval:
    """The collection that is here, as a manifest has it."""
    with open_session(settings_with(program=PROGRAM)) as session:
        opened = session.run(session.retriever.opened())
        return Retrieval(k=3, collection_version=opened.collection_version, embedder=opened.embedder_name)


@pytest.fixture
def other_collection(here: Retrieval, tmp_path: Path) -> Path:
    """Compiled with a collection that is not the one here, of the same embedder."""
    other = here.model_copy(update={"collection_version": "docs-1a2b3c4d"})
    return save(programs.AsyncOnly(), draft(PROGRAM, retrieval=other), tmp_path / "artifacts")


@pytest.fixture
def this_collection(here: Retrieval, tmp_path: Path) -> Path:
    """Compiled with the collection that is here."""
    return save(programs.AsyncOnly(), draft(PROGRAM, retrieval=here), tmp_path / "artifacts")


async def warnings_of_a_start(settings: Settings, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.WARNING)
    service = await open_service(settings, OwnerLoop.of_running_loop())
    try:
        await service.dry_run()
    finally:
        await service.aclose()
    return [record.__dict__["check"] for record in caplog.records if record.message == "artifact warning"]


async def test_a_server_compares_the_collection_once_it_was_searched(
    settings_with: SettingsWith, other_collection: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_with(program=PROGRAM, artifact=other_collection)
    assert await warnings_of_a_start(settings, caplog) == ["setting-collection-version"]


async def test_and_says_nothing_of_the_compiled_one(
    settings_with: SettingsWith, this_collection: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await warnings_of_a_start(settings_with(program=PROGRAM, artifact=this_collection), caplog) == []


def test_verify_opens_a_collection_that_is_named(slipway: Slipway, other_collection: Path) -> None:
    words = ("artifact", "verify", str(other_collection), "--program", PROGRAM)
    assert "collection version" not in slipway(*words)[1]
    code, out, _ = slipway(*words, "--collection", "isles")
    assert code == 0
    assert "was compiled with collection version docs-1a2b3c4d, is served with isles-" in out


def test_evaluate_says_what_makes_a_score_worth_less(slipway: Slipway, tmp_path: Path) -> None:
    dev = tmp_path / "dev.jsonl"
    dev.write_text('{"question": "When was Port Callow founded?", "answer": "x"}')
    data = {"train": Dataset(name="dev.jsonl", digest=hashlib.sha256(dev.read_bytes()).hexdigest(), examples=1)}
    path = save(programs.AsyncOnly(), draft(PROGRAM, data=data), tmp_path / "artifacts")
    code, _, err = slipway("evaluate", "--artifact", str(path), "--program", PROGRAM, "--dev", "dev.jsonl")
    assert code == 0
    assert "the artifact was compiled on dev.jsonl, so that its score there says little" in err
    assert "was compiled with collection version docs-1a2b3c4d, is served with isles-" in err
