# SPDX-License-Identifier: Apache-2.0
"""`slipway evaluate --floor`: an exit code for each verdict, for CI to act on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import programs
import pytest
from artifact_drafts import draft

from slipway_server.artifacts import save

Slipway = Callable[..., tuple[int, str, str]]
WORDS = ("evaluate", "--program", "programs:Versioned", "--artifact", "artifacts/a.json", "--dev", "dev.jsonl")


@pytest.fixture
def examples(tmp_path: Path) -> Callable[[int, int], None]:
    """`examples(right, wrong)`: so many examples whose label is, and is not, what the artifact answers."""
    program = programs.Versioned()
    program.answer.signature = program.answer.signature.with_instructions("version A")
    saved = save(program, draft("programs:Versioned"), tmp_path / "artifacts")
    saved.rename(saved.with_name("a.json"))
    saved.with_name(saved.name.replace(".json", ".meta.json")).rename(saved.with_name("a.meta.json"))

    def write(right: int, wrong: int) -> None:
        rows = [{"question": f"Which? {n}", "answer": "A" if n < right else "B"} for n in range(right + wrong)]
        (tmp_path / "dev.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))

    return write


@pytest.mark.parametrize(
    ("right", "wrong", "code", "words"),
    [
        (60, 0, 0, "PASS: 1.000 (0.940 to 1.000), n = 60: the interval lies above the floor 0.88"),
        (30, 30, 1, "FAIL: 0.500 (0.377 to 0.623), n = 60: the interval lies below the floor 0.88"),
        (19, 1, 3, "the interval holds the floor 0.88; about 63 more examples would tell, if the score stays"),
    ],
    ids=["pass", "fail", "inconclusive"],
)
def test_a_verdict_is_an_exit_code(
    right: int, wrong: int, code: int, words: str, slipway: Slipway, examples: Callable[[int, int], None]
) -> None:
    examples(right, wrong)
    got, out, _ = slipway(*WORDS, "--floor", "0.88")
    assert got == code
    assert out.endswith(words + "\n")


def test_json_names_verdict_and_need(slipway: Slipway, examples: Callable[[int, int], None]) -> None:
    examples(19, 1)
    code, out, _ = slipway(*WORDS, "--floor", "0.88", "--json")
    values = orjson.loads(out)
    assert (code, values["verdict"], values["needs"], values["floor"]) == (3, "INCONCLUSIVE", 63, 0.88)
    assert "verdict" not in orjson.loads(slipway(*WORDS, "--json")[1])


@pytest.mark.parametrize("floor", ["0", "1", "1.5", "-0.1"])
def test_a_floor_lies_between_0_and_1(floor: str, slipway: Slipway, examples: Callable[[int, int], None]) -> None:
    examples(1, 0)
    code, _, err = slipway(*WORDS, "--floor", floor)
    assert code == 2
    assert "must be between 0 and 1" in err
