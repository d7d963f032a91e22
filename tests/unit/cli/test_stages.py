# SPDX-License-Identifier: Apache-2.0
"""Progress shows what is under way, and nothing where nothing is."""

from __future__ import annotations

import pytest

from slipway_server.cli.stages import stages
from slipway_server.errors import CorpusInvalid


def test_each_stage_has_a_line_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with stages(quiet=False, unit="runs") as report:
        for done in range(43):
            report("uncompiled", done, 42)
        report("compiled", 7, None)
    err = capsys.readouterr().err
    assert "42/42 runs, " in err
    assert "7/?" in err
    assert "?/s" not in err
    assert err.count("/s, left") == 2


def test_a_failure_before_anything_was_done_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorpusInvalid), stages(quiet=False, unit="passages"):
        raise CorpusInvalid("docs.jsonl, line 2: not JSON")
    assert capsys.readouterr() == ("", "")


def test_a_stage_with_nothing_to_do_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with stages(quiet=False, unit="runs") as report:
        report("labeled-few-shot", 0, 0)
    assert capsys.readouterr() == ("", "")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with stages(quiet=True, unit="runs") as report:
        report("uncompiled", 42, 42)
    assert capsys.readouterr() == ("", "")
