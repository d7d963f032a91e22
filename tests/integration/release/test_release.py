# SPDX-License-Identifier: Apache-2.0
"""`slipway release …` with a command `helm` that keeps revisions: what is printed, run, shown and refused."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from slipway_server.artifacts import manifest_path
from slipway_server.cli import main
from slipway_server.telemetry import logs

ROOT = Path(__file__).parents[3]
CI = ROOT / "deploy/helm/slipway/ci/everything-values.yaml"
Slipway = Callable[..., tuple[int, str]]
WHERE = ("--release", "answers", "--namespace", "search")


class Cluster:
    """The folder of the fake Helm."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def install(self, values: dict[str, Any]) -> None:
        (self.home / "revisions").mkdir()
        (self.home / "revisions/1.json").write_text(json.dumps({"values": values, "status": "deployed"}))

    @property
    def revision(self) -> int:
        return max(int(path.stem) for path in (self.home / "revisions").iterdir())

    @property
    def values(self) -> dict[str, Any]:
        return dict(json.loads((self.home / f"revisions/{self.revision}.json").read_text())["values"])

    @property
    def variants(self) -> tuple[str, str, int]:
        found = self.values["variants"]
        return found["stable"]["artifact"], found["candidate"]["artifact"], found["candidate"]["weight"]


@pytest.fixture
def given() -> dict[str, dict[str, str]]:
    """Two real artifacts of the demonstration's program, as values of the chart."""
    import yaml

    return {key: dict(one) for key, one in yaml.safe_load(CI.read_text())["artifacts"].items() if key in ("v1", "v2")}


@pytest.fixture
def cluster(tmp_path: Path, given: Any, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A release whose stable artifact is v1."""
    home, commands = tmp_path / "helm", tmp_path / "bin"
    home.mkdir()
    commands.mkdir()
    script = (ROOT / "tests/support/fake_helm.py").read_text().replace("/usr/bin/env python3", sys.executable)
    (commands / "helm").write_text(script)
    (commands / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HELM", str(home))
    cluster = Cluster(home)
    cluster.install(
        {
            "program": {"path": "slipway_server.demo.program:Guide"},
            "artifacts": {"v1": given["v1"]},
            "variants": {"stable": {"artifact": "v1"}, "candidate": {"artifact": "", "weight": 0}},
            "serving": {"replicas": 3},
        }
    )
    return cluster


@pytest.fixture
def new(tmp_path: Path, given: Any) -> Path:
    """Another artifact's file."""
    path = tmp_path / "guide-2.json"
    path.write_text(given["v2"]["state"])
    manifest_path(path).write_text(given["v2"]["manifest"])
    return path


@pytest.fixture
def slipway(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Slipway:
    """`slipway("ship", …)`: exit code, and what was printed; the last line of standard error where it failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure", lambda level, style: None)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["slipway", "release", *words, *WHERE])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        code = int(ended.value.code or 0)
        return code, printed.err.strip().splitlines()[-1] if code == 2 else printed.out

    return run


def command_of(printed: str) -> list[str]:
    [line] = [line for line in printed.splitlines() if line.startswith("  helm ")]
    return shlex.split(line)


def test_nothing_is_changed_unless_it_is_asked_for(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    code, said = slipway("ship", str(new))
    assert (code, cluster.revision) == (0, 1)
    assert "guide-2.json: verified" in said
    assert "demos" in said
    assert "unchanged" in said
    assert "nothing was changed" in said
    assert command_of(said)[:3] == ["helm", "upgrade", "answers"]
    code, said = slipway("ship", str(new), "--apply", "--dry-run")
    assert (code, cluster.revision) == (0, 1)
    assert "added: ConfigMap artifact-c" in said
    assert "changed: Deployment server" in said


def test_from_canary_to_stable_and_back(cluster: Cluster, new: Path, slipway: Slipway, given: Any) -> None:
    digest = json.loads(given["v2"]["manifest"])["digest"]
    key = f"c{digest[:8]}"
    code, said = slipway("ship", str(new), "--percent", "5", "--apply")
    assert (code, cluster.variants) == (0, ("v1", key, 500)), said
    assert cluster.values["artifacts"][key] == {**given["v2"], "name": "guide-2"}
    assert "slipway release promote --release answers -n search --apply" in said

    assert slipway("promote", "--percent", "50", "--apply")[0] == 0
    assert cluster.variants == ("v1", key, 5000)
    assert slipway("promote", "--apply")[0] == 0
    assert cluster.variants == (key, "", 0)

    code, said = slipway("rollback", "--dry-run")
    assert "revision 1: v1" in said, "revisions with the same artifact as candidate are passed over"
    assert slipway("rollback", "--apply")[0] == 0
    assert cluster.variants == ("v1", "", 0)


def test_a_candidate_with_a_share_loses_that_first(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    slipway("ship", str(new), "--apply")
    key = cluster.variants[1]
    code, said = slipway("rollback", "--apply")
    assert (code, cluster.variants) == (0, ("v1", key, 0)), said
    assert "--no-hooks" in command_of(said)


def test_rollback_says_which_other_values_go_back(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    slipway("ship", str(new), "--apply")
    slipway("promote", "--apply")
    one = cluster.home / f"revisions/{cluster.revision}.json"
    changed = json.loads(one.read_text())
    changed["values"]["serving"]["replicas"] = 5
    one.write_text(json.dumps(changed))
    assert "these values go back, too: serving.replicas" in slipway("rollback")[1]


def test_what_failed_is_shipped_again_and_is_no_candidate(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    """Helm keeps the values of an upgrade that failed as the newest revision; the next one does not begin from them."""
    failing = cluster.home / "fail"
    failing.write_text("pre-upgrade hooks failed: job failed")
    assert slipway("ship", str(new), "--name", "v2", "--apply")[0] == 2
    failing.unlink()
    assert "the release has no candidate" in slipway("promote")[1]
    code, said = slipway("ship", str(new), "--name", "v2", "--apply")
    assert code == 0, said
    assert cluster.variants == ("v1", "v2", 1000)
    assert set(cluster.values["artifacts"]) == {"v1", "v2"}


def test_an_upgrade_that_failed_goes_back_to_what_was_live(
    cluster: Cluster, new: Path, slipway: Slipway, given: Any, tmp_path: Path
) -> None:
    assert slipway("ship", str(new), "--name", "v2", "--apply")[0] == 0
    assert slipway("promote", "--apply")[0] == 0
    assert cluster.variants == ("v2", "", 0)
    live = cluster.revision
    (cluster.home / "fail").write_text("context deadline exceeded")
    old = tmp_path / "guide-1.json"
    old.write_text(given["v1"]["state"])
    manifest_path(old).write_text(given["v1"]["manifest"])
    assert slipway("ship", str(old), "--apply")[0] == 2
    (cluster.home / "fail").unlink()
    code, said = slipway("rollback", "--apply")
    assert code == 0
    assert f"revision {live + 1} did not succeed: all of revision {live} again, v2 (" in said
    assert cluster.variants == ("v2", "", 0)
    assert slipway("rollback", "--apply")[0] == 0
    assert cluster.variants[0] == "v1"


def test_json_has_it_all(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    code, said = slipway("ship", str(new), "--dry-run", "--json")
    found = orjson.loads(said)
    assert (code, found["action"], found["applied"], cluster.revision) == (0, "ship", False, 1)
    assert found["diff"]["after"]["artifact"] == str(new)
    assert {one["change"] for one in found["objects"]} == {"added", "changed"}
    assert shlex.split(found["commands"][0])[:2] == ["helm", "upgrade"]
    found = orjson.loads(slipway("ship", str(new), "--apply", "--json")[1])
    assert (found["applied"], cluster.revision) == (True, 2)


def test_a_packed_artifact_reaches_the_release(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    import base64
    import gzip

    packed = new.with_name("guide-2.json.gz")
    packed.write_bytes(gzip.compress(new.read_bytes()))
    code, said = slipway("ship", str(packed), "--apply")
    assert code == 0, said
    key = cluster.variants[1]
    state = cluster.values["artifacts"][key]["stateGz"]
    assert gzip.decompress(base64.b64decode(state)) == new.read_bytes()
    assert slipway("promote", "--apply")[0] == 0
    code, said = slipway("ship", str(new))
    assert (code, said) == (2, "slipway: guide-2.json is what stable serves already")


def test_a_bad_artifact_is_not_shipped(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    new.write_text(new.read_text().replace("412", "413"))
    code, said = slipway("ship", str(new), "--apply")
    assert (code, cluster.revision) == (1, 1)
    assert "guide-2.json: refused" in said
    code, said = slipway("ship", str(new), "--apply", "--json")
    assert (code, orjson.loads(said)["refused"], cluster.revision) == (1, True, 1)


def test_helm_s_own_failure_is_one_line(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    (cluster.home / "fail").write_text("pre-upgrade hooks failed: job failed")
    code, said = slipway("ship", str(new), "--apply")
    assert (code, said) == (
        2,
        "slipway: helm upgrade failed, its own words are above: pre-upgrade hooks failed: job failed",
    )
    shutil.rmtree(cluster.home / "revisions")
    (cluster.home / "revisions").mkdir()
    code, said = slipway("rollback", "--helm", "helm-that-is-not-there")
    assert (code, "there is no command helm-that-is-not-there" in said) == (2, True)


def test_what_cannot_be_is_refused_in_one_line(cluster: Cluster, new: Path, slipway: Slipway) -> None:
    assert slipway("promote")[1] == (
        "slipway: the release has no candidate: `slipway release ship` makes an artifact one"
    )
    assert "no earlier revision of the release served another artifact" in slipway("rollback")[1]
    assert "a forecast needs both" in slipway("ship", str(new), "--rpm", "5")[1]
    assert "must be between 0 and 1" in slipway("ship", str(new), "--floor", "2")[1]
    assert "must be above 0" in slipway("ship", str(new), "--percent", "0")[1]
