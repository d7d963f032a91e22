# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile lints, and fits what the chart expects of an image."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from charts import ROOT

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_checked_by_hash_and_needs_no_compiler() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install (.+?)(?: \\)?$", TEXT, re.MULTILINE)
    from_files = [one for one in installs if "-r requirements/" in one]
    assert len(from_files) == 3
    assert all("--require-hashes --only-binary :all:" in one for one in from_files)
    assert [one for one in installs if one not in from_files] == ["--no-deps /wheels/*.whl"] * 2


def test_both_targets_run_as_the_user_of_the_chart() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)
    assert {name for base, name in stages if base == "runtime"} == {"serve", "full"}
    runtime = TEXT.partition(" AS runtime\n")[2]
    assert "\nUSER 65532:65532\n" in runtime
    assert re.findall(r"^COPY --from=(\S+)", runtime, re.MULTILINE) == ["build-full", "build-serve"]


def test_the_context_holds_only_what_the_image_is_made_of() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == {"requirements", "client", "server"}
    copied = [word for words in re.findall(r"^COPY (\w.*)", TEXT, re.MULTILINE) for word in words.split()[:-1]]
    assert {word.partition("/")[0] for word in copied} == allowed
