# SPDX-License-Identifier: Apache-2.0
"""Which words of Helm a step is, and when there is none."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slipway_server.artifacts import manifest_path
from slipway_server.errors import ConfigInvalid
from slipway_server.release import Helm, State, promote, share, ship, stop
from slipway_server.release.plan import PACKED_FROM_BYTES, weight_of

OLD, NEW = "0" * 64, "ab" * 32
HELM = Helm("answers", "search", chart="chart", timeout="5m")


def state(**artifacts: Any) -> State:
    """Stable is v1; a candidate named by `candidate`, with its weight."""
    candidate = artifacts.pop("candidate", ("", 0))
    variants = {"stable": {"artifact": "v1"}, "candidate": {"artifact": candidate[0], "weight": candidate[1]}}
    given = {"v1": {"state": "{}", "manifest": json.dumps({"digest": OLD})}, **artifacts}
    return State.of({"artifacts": given, "variants": variants})


def artifact(folder: Path, name: str = "rag-1.json", content: str = "{}") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    manifest_path(path).write_text(json.dumps({"digest": NEW}), encoding="utf-8")
    return path


def test_an_artifact_is_given_by_its_two_files_under_a_name_of_its_digest(tmp_path: Path) -> None:
    path = artifact(tmp_path)
    plan = ship(state(), path, weight_bps=1000)
    assert plan.options == [
        "--set-file",
        f"artifacts.cabababab.state={path}",
        "--set-file",
        f"artifacts.cabababab.manifest={manifest_path(path)}",
        "--set-string",
        "artifacts.cabababab.name=rag-1",
        "--set-string",
        "variants.candidate.artifact=cabababab",
        "--set",
        "variants.candidate.weight=1000",
    ]
    words = "helm upgrade answers chart --namespace search --reset-then-reuse-values --wait --timeout 5m"
    assert plan.words(HELM) == [*shlex.split(words), *plan.options]


def test_a_large_artifact_goes_packed_by_the_command_that_is_printed(tmp_path: Path) -> None:
    content = json.dumps({"demos": "x" * PACKED_FROM_BYTES})
    for path in (artifact(tmp_path, content=content), tmp_path / "rag-2.json.gz"):
        if not path.exists():
            path.write_bytes(gzip.compress(content.encode()))
            manifest_path(path).write_text(json.dumps({"digest": NEW}), encoding="utf-8")
        plan = ship(state(), path, weight_bps=1000)
        assert plan.packed
        assert f"artifacts.cabababab.stateGz={plan.packed.path}" in plan.options
        assert gzip.decompress(base64.b64decode(plan.packed.content)).decode() == content
        subprocess.run(plan.packed.command, shell=True, check=True)
        assert gzip.decompress(base64.b64decode(plan.packed.path.read_bytes())).decode() == content


def test_a_large_artifact_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's a,b"
    folder.mkdir()
    plan = ship(state(), artifact(folder, content="x" * (PACKED_FROM_BYTES + 1)), weight_bps=1000)
    assert plan.packed
    subprocess.run(plan.packed.command, shell=True, check=True)
    assert plan.packed.path.exists()
    runnable = plan.packed_into(tmp_path / "packed")
    assert f"artifacts.cabababab.stateGz={tmp_path / 'packed'}" in runnable.options
    assert (tmp_path / "packed").read_bytes() == plan.packed.content


def test_a_path_with_a_comma_is_one_setting(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert any("/a\\,b/rag-1.json" in option for option in ship(state(), artifact(folder), weight_bps=1).options)


def test_what_the_release_has_is_not_given_again(tmp_path: Path) -> None:
    has = {"loop": {"existingConfigMap": "answers-candidate-abababab", "digest": NEW}}
    plan = ship(state(**has), artifact(tmp_path), weight_bps=500)
    wanted = ["--set-string", "variants.candidate.artifact=loop", "--set", "variants.candidate.weight=500"]
    assert plan.options == wanted


def test_artifacts_that_no_variant_serves_are_taken_out_unless_kept(tmp_path: Path) -> None:
    old = {"v0": {"state": "{}", "manifest": json.dumps({"digest": "9" * 64})}}
    plan = ship(state(**old), artifact(tmp_path), weight_bps=500)
    assert "artifacts.v0=null" in plan.options
    assert "artifacts.v1=null" not in plan.options
    assert "v0, unused" in plan.note
    assert "artifacts.v0=null" not in ship(state(**old), artifact(tmp_path), weight_bps=500, keep=True).options


def test_a_floor_goes_to_the_hook_as_a_number(tmp_path: Path) -> None:
    plan = ship(state(), artifact(tmp_path), weight_bps=500, floor=0.88)
    assert plan.options[-2:] == ["--set-json", "gate.floor=0.88"]


@pytest.mark.parametrize(
    ("key", "given", "sentence"),
    [
        ("V_2", {}, "lower-case letters, digits and hyphens"),
        ("v1", {}, "has another artifact of that name"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(tmp_path: Path, key: str, given: Any, sentence: str) -> None:
    with pytest.raises(ConfigInvalid, match=sentence):
        ship(state(**given), artifact(tmp_path), weight_bps=1, key=key)


def test_what_stable_serves_is_no_candidate(tmp_path: Path) -> None:
    path = artifact(tmp_path)
    manifest_path(path).write_text(json.dumps({"digest": OLD}), encoding="utf-8")
    with pytest.raises(ConfigInvalid, match="is what stable serves already"):
        ship(state(), path, weight_bps=1)


def test_another_share_runs_no_hook_and_waits_for_no_pod() -> None:
    served = state(v2={"existingConfigMap": "x", "digest": NEW}, candidate=("v2", 1000))
    upgrade = "helm upgrade answers chart --namespace search --reset-then-reuse-values --no-hooks"
    assert share(served, 5000).words(HELM) == [*shlex.split(upgrade), "--set", "variants.candidate.weight=5000"]
    assert stop(served).words(HELM) == [*shlex.split(upgrade), "--set", "variants.candidate.weight=0"]


def test_promoting_empties_the_candidate_s_slot() -> None:
    served = state(v2={"existingConfigMap": "x", "digest": NEW}, candidate=("v2", 5000))
    assert promote(served).options == [
        "--set-string",
        "variants.stable.artifact=v2,variants.candidate.artifact=",
        "--set",
        "variants.candidate.weight=0",
    ]
    with pytest.raises(ConfigInvalid, match="has no candidate"):
        promote(state())


@pytest.mark.parametrize(("percent", "bps"), [(10, 1000), (0.01, 1), (0.001, 1), (33.333, 3333), (100, 10_000)])
def test_a_share_is_counted_in_basis_points(percent: float, bps: int) -> None:
    assert weight_of(percent) == bps


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_share_outside_its_bounds_is_refused(percent: float) -> None:
    with pytest.raises(ConfigInvalid, match="must be above 0, and 100 at most"):
        weight_of(percent)
