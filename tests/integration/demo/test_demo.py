# SPDX-License-Identifier: Apache-2.0
"""The demonstration runs from end to end, and keeps to its folder."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SECONDS = 90


def typing() -> dict[str, str]:
    """The environment of a user who has configured nothing and activated the virtual environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLIPWAY_", "DSPY_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    return inherited | {"COLUMNS": "200", "PATH": path}


def demo(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user does, with no configuration but `environment`."""
    return subprocess.run(
        [sys.executable, "-m", "slipway_server.demo", *words],
        cwd=cwd,
        env=typing() | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def output(workplace: Path) -> str:
    done = demo(cwd=workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scores(output: str) -> tuple[float, float]:
    """Uncompiled and compiled, as the table has them."""
    found = re.search(r"token-f1 +(\d\.\d+) \([^)]*\) +(\d\.\d+) \(", output)
    assert found, output
    return float(found[1]), float(found[2])


def answers(output: str) -> Mapping[str, tuple[str, str]]:
    """Question → (answer, expected)."""
    rows = re.findall(r"question +(.+?) *\n +answer +(.+?) *\n +expected +(.+?) *\n", output)
    return {question: (answer, expected) for question, answer, expected in rows}


def test_compiling_makes_the_program_better_and_says_by_how_much(output: str) -> None:
    uncompiled, compiled = scores(output)
    assert compiled > uncompiled + 0.2
    assert re.search(r"difference \+0\.\d+ \(\+0\.\d+ to \+0\.\d+\), p ", output)


def test_three_questions_are_answered_over_grpc_with_citations_and_receipts(output: str) -> None:
    found = answers(output)
    assert len(found) == 3
    assert all(answer == expected for answer, expected in found.values())
    assert len(re.findall(r"citations +\S.+ \(\d+\.\d\d\) · ", output)) == 3
    receipts = re.findall(r"cache (\w+) · calls (\d) · attempts (\d) · tokens (\d+) \+ (\d+)", output)
    assert [receipt[:3] for receipt in receipts] == [("miss", "1", "1")] * 3 + [("memory", "0", "0")]
    assert all(int(prompt) > 0 for _, _, _, prompt, _ in receipts[:3])


def test_the_served_artifact_is_the_compiled_one(output: str, workplace: Path) -> None:
    written = re.search(r"current: \S+/(\S+)\.json", output)
    assert written
    assert (workplace / ".slipway/demo/artifacts" / f"{written[1]}.json").exists()
    assert output.count(f"stable: {written[1]}") == 3


def test_the_server_stops_and_nobody_listens_any_more(output: str) -> None:
    assert re.search(r"exit code +0\b", output)
    target = re.search(r"target +127\.0\.0\.1:(\d+)", output)
    assert target
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(target[1])), timeout=5)


def test_it_says_that_no_language_model_answers_and_how_to_use_one(output: str) -> None:
    assert "offline/extractive is not a language model" in output
    assert output.count("model offline/extractive, which is no language model") == 3
    assert "SLIPWAY_LM_MODEL=openai/unsloth/gemma-3-4b-it-GGUF:Q4_K_M" in output
    assert "SLIPWAY_CONFIG_FILE=local.env make demo" in output


def test_everything_stays_in_its_folder(output: str, workplace: Path) -> None:
    assert [path.name for path in workplace.iterdir()] == [".slipway"]
    assert [path.name for path in (workplace / ".slipway").iterdir()] == ["demo"]


def test_the_commands_that_it_shows_can_be_typed(output: str, workplace: Path) -> None:
    shown = [line[2:] for line in output.splitlines() if line.startswith("$ ")]
    assert [line.split()[:2] for line in shown[1:]] == [["slipway", step] for step in ("ingest", "compile", "serve")]
    again = "; ".join([shown[0], shown[1]])
    done = subprocess.run(
        ["bash", "-ec", again], cwd=workplace, env=typing(), capture_output=True, text=True, check=True
    )
    assert re.match(r"merrin-\w{8} is up to date", done.stdout)
    assert all("--collection merrin" in line for line in shown[1:])


def test_a_folder_with_other_contents_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "letters" / "dear.txt"
    kept.parent.mkdir()
    kept.write_text("Dear Edda,")
    done = demo("--dir", "letters", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--dir letters is not empty" in done.stderr
    assert kept.read_text() == "Dear Edda,"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Edda,")
    done = demo("--dir", "letter", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--dir letter is not a folder" in done.stderr


def test_a_step_that_fails_ends_it_with_the_reason(tmp_path: Path) -> None:
    done = demo(cwd=tmp_path, SLIPWAY_EMBEDDING_MODEL="offline/nothing")
    assert done.returncode == 2
    assert "offline/nothing is not built in" in done.stderr
    assert done.stderr.endswith("slipway demo: `slipway ingest` failed\n")
    assert "Traceback" not in done.stderr
    assert "2  Compile" not in done.stdout
