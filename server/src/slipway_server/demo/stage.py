# SPDX-License-Identifier: Apache-2.0
"""Where the demonstration happens: a folder of its own, the `slipway` commands, and a server process.

stage = Stage.prepare(Path(".slipway/demo"))
stage.run("ingest", "--corpus", "docs.jsonl")
with stage.serving("--artifact", "artifacts") as server:
    server.facts["target"]
server.exit_code                                    # after SIGTERM
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_server.config import CACHE_DIR_KEY
from slipway_server.errors import ConfigInvalid

MARKER = ".slipway-demo"
"""Lies in a folder that a demonstration made, which the next one may therefore empty."""
STOP_SECONDS = 30.0


class StepFailed(Exception):
    """A command of the demonstration failed; it has said why itself."""


@dataclass(slots=True)
class RunningServer:
    """`facts`: what `slipway serve --json` says when it is ready. The other two are known once it has stopped."""

    facts: Mapping[str, Any]
    exit_code: int | None = None
    stop_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder, and an environment that keeps everything inside it; the user's own keys for a provider stay."""

    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def prepare(cls, folder: Path, **settings: str) -> Stage:
        """Empty or make the folder. `settings`: more of the environment.

        Raises ConfigInvalid for a folder with contents that no demonstration made, or that cannot be written.
        """
        if folder.exists() and not folder.is_dir():
            raise ConfigInvalid(f"--dir {folder} is not a folder; name a new one, or one of an earlier demonstration")
        if folder.exists() and not (folder / MARKER).exists() and any(folder.iterdir()):
            raise ConfigInvalid(f"--dir {folder} is not empty; name a new folder, or one of an earlier demonstration")
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            (folder / MARKER).touch()
        except OSError as error:
            raise ConfigInvalid(f"--dir {folder} cannot be emptied and made anew: {error.strerror or error}") from None
        own = {"SLIPWAY_DATA_DIR": str(folder / "data"), CACHE_DIR_KEY: str(folder / "cache")}
        return cls(folder, {**os.environ, **own, **settings})

    def run(self, *words: str) -> None:
        """Run a `slipway` command in this terminal. Raises StepFailed."""
        if subprocess.run(_command(words), env=self.environment, check=False).returncode != 0:
            raise StepFailed(f"`slipway {words[0]}` failed")

    @contextmanager
    def serving(self, *words: str) -> Iterator[RunningServer]:
        """`slipway serve` as a process, ready, on free ports; SIGTERM at the end. Raises StepFailed."""
        command = _command(("serve", *words, "--port", "0", "--metrics-port", "0", "--json"))
        log_path = self.folder / "server.log"
        with (
            log_path.open("wb") as log,
            subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log) as process,
        ):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                raise StepFailed(f"`slipway serve` failed: {_last_line(log_path)}")
            server = RunningServer(orjson.loads(line))
            try:
                yield server
            finally:
                server.exit_code, server.stop_seconds = _stop(process)


def _command(words: tuple[str, ...]) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / "slipway"), *words]


def _last_line(log: Path) -> str:
    return (log.read_text(encoding="utf-8").splitlines() or [f"{log} is empty"])[-1].removeprefix("slipway: ")


def _stop(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    started = time.monotonic()
    process.terminate()
    try:
        return process.wait(timeout=STOP_SECONDS), time.monotonic() - started
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), time.monotonic() - started
