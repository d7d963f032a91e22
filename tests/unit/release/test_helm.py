# SPDX-License-Identifier: Apache-2.0
"""A command that is no Helm is told apart from a release that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slipway_server.errors import HelmFailed
from slipway_server.release import Helm

Saying = Callable[[str], Helm]


@pytest.fixture
def saying(tmp_path: Path) -> Saying:
    """A Helm that answers everything with one text."""

    def make(answer: str) -> Helm:
        program = tmp_path / "helm"
        program.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n")
        program.chmod(0o755)
        return Helm("answers", program=str(program))

    return make


@pytest.mark.parametrize("answer", ["", "usage: other"])
def test_an_answer_that_is_no_json(saying: Saying, answer: str) -> None:
    with pytest.raises(HelmFailed, match="helm history: its answer is no JSON"):
        saying(answer).values()


def test_a_release_without_revisions(saying: Saying) -> None:
    with pytest.raises(HelmFailed, match="helm history: answers has no revisions"):
        saying("[]").values()


def test_a_release_without_values_of_its_own(saying: Saying) -> None:
    assert saying("null").values(revision=1) == {}
