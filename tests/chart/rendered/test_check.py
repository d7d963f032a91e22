# SPDX-License-Identifier: Apache-2.0
"""The script that `helm test` runs, against a server process as the chart starts it, but for its addresses.

The server cannot import what the image `serve` lacks; a simulated provider takes the provider's place.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
from charts import CHART, ROOT, Objects

CHECK = CHART / "files/check.py"
SLIPWAY = Path(sys.executable).with_name("slipway")
SECONDS = 60
SERVE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split()))
from slipway_server.cli import main
main()
"""


def removed() -> list[str]:
    """The modules that the Dockerfile takes out of the image `serve`."""
    text = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"uninstall --yes \\\n +(.+) \\\n", text)
    assert found
    return found[1].replace("-", "_").split()


@pytest.fixture
def provider() -> Iterator[str]:
    """URL of a simulated provider."""
    command = [SLIPWAY, "simulate-provider", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield next(found[0] for line in process.stdout if (found := re.search(r"http://\S+/v1", line)))
        process.terminate()


@pytest.fixture
def target(objects: Callable[..., Objects], provider: str, tmp_path: Path) -> Iterator[str]:
    """host:port of a server with the configuration of the scenario `default`."""
    rendered = objects("default")
    [server] = rendered["Deployment", "answers-slipway"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in server["env"]}
    data = next(one["data"] for (kind, name), one in rendered.items() if kind == "ConfigMap" and "-artifact-" in name)
    for name, text in data.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "api-key").write_text("none", encoding="utf-8")
    environment |= {
        "PATH": str(SLIPWAY.parent),
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
        "SLIPWAY_ARTIFACT": str(tmp_path / "v1.json"),
        "SLIPWAY_DATA_DIR": str(tmp_path / "data"),
        "SLIPWAY_SCRATCH_DIR": str(tmp_path),
        "SLIPWAY_ROUTING_DIR": str(tmp_path),
        "SLIPWAY_LM_API_KEY_FILE": str(tmp_path / "api-key"),
        "SLIPWAY_LM_BASE_URL": provider,
        "SLIPWAY_LM_PEERS_DNS": "",
        "SLIPWAY_HOST": "127.0.0.1",
        "SLIPWAY_GRPC_PORT": "0",
        "SLIPWAY_METRICS_PORT": "0",
        "SLIPWAY_DRAIN_SECONDS": "0",
    }
    routing = rendered["ConfigMap", "answers-slipway-routing"]["data"]["routing.json"]
    (tmp_path / "routing.json").write_text(routing, encoding="utf-8")
    corpus = str(resources.files("slipway_server.demo") / "corpus.jsonl")
    subprocess.run([SLIPWAY, "ingest", "--corpus", corpus], env=environment, check=True, capture_output=True)
    assert "litellm" in removed()
    command = [sys.executable, "-c", SERVE, " ".join(removed()), "serve", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"localhost:{json.loads(process.stdout.readline())['grpc_port']}"
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_it_asks_for_every_service_s_health_and_for_an_answer(target: str) -> None:
    inputs = json.dumps({"question": "How high is Ward Hill?"})
    command = [sys.executable, "-c", CHECK.read_text(encoding="utf-8"), target, inputs, "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    *services, answer, receipt = done.stdout.splitlines()
    assert "slipway.v1.PredictionService: SERVING" in services
    assert json.loads(answer)["answer"]
    assert receipt.endswith("variant stable")


def test_it_fails_where_nobody_answers() -> None:
    command = [sys.executable, "-c", CHECK.read_text(encoding="utf-8"), "localhost:1", "{}", "0.5"]
    assert subprocess.run(command, capture_output=True, timeout=SECONDS).returncode != 0
