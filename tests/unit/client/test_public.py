# SPDX-License-Identifier: Apache-2.0
"""What the client promises: its names, its dependencies, its service config."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import slipway_client
from slipway.v1 import prediction_pb2, receipt_pb2
from slipway_client import AsyncSlipwayClient, SlipwayClient, _rpcs
from slipway_client._channel import channel_options, target_uri

ROOT = Path(__file__).parents[3]

EXPORTS = {
    "DEFAULT_DEADLINE_SECONDS", "SERVICE_CONFIG", "SlipwayClient", "AsyncSlipwayClient",
    "SlipwayClientError", "InvalidRequest", "NotFound", "Unsupported", "FailedPrecondition", "Overloaded",
    "Unavailable", "DeadlineExceeded", "Cancelled", "Internal",
    "Prediction", "RagAnswer", "Receipt", "Citation", "Serving", "Variant", "Artifact", "FeedbackStored",
}  # fmt: skip


def test_the_exported_names() -> None:
    assert set(slipway_client.__all__) == EXPORTS
    public = {name for name in vars(slipway_client) if not name.startswith("_")}
    assert public - {"annotations"} == EXPORTS


def test_results_are_frozen() -> None:
    results = [value for value in vars(slipway_client).values() if dataclasses.is_dataclass(value)]
    assert len(results) == 8
    assert all(value.__dataclass_params__.frozen for value in results)  # type: ignore[attr-defined]


def test_a_cache_tier_of_a_newer_server_costs_no_answer() -> None:
    response = prediction_pb2.PredictResponse(receipt=receipt_pb2.Receipt(cache=99, attempts=2))  # type: ignore[arg-type]
    receipt = _rpcs.prediction(response).receipt
    assert (receipt.cache, receipt.attempts) == ("", 2)


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    def methods(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(value).parameters)
            for name, value in vars(client).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }

    assert methods(SlipwayClient) == methods(AsyncSlipwayClient)
    assert list(inspect.signature(SlipwayClient).parameters) == list(inspect.signature(AsyncSlipwayClient).parameters)


def test_the_service_config_keeps_within_what_grpc_takes() -> None:
    """gRPC proposals A6 and A62; a wrong one would fail every call, and only then."""
    config = slipway_client.SERVICE_CONFIG
    assert set(config) == {"loadBalancingConfig", "healthCheckConfig", "methodConfig", "retryThrottling"}
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": ""}
    (method,) = config["methodConfig"]
    policy = method["retryPolicy"]
    assert method["name"] == [{}]
    assert 2 <= policy["maxAttempts"] <= 5, "gRPC cuts more to 5, silently"
    assert policy["backoffMultiplier"] > 0
    for key in ("initialBackoff", "maxBackoff"):
        assert re.fullmatch(r"\d+(\.\d{1,9})?s", policy[key])
    assert set(policy["retryableStatusCodes"]) == {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"}
    throttling = config["retryThrottling"]
    assert 0 < throttling["maxTokens"] <= 1000
    assert throttling["tokenRatio"] > 0
    assert round(throttling["tokenRatio"], 3) == throttling["tokenRatio"]


def test_the_documented_service_config_is_the_shipped_one() -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    (block,) = re.findall(r"```json\n(\{\n.*?retryThrottling.*?\n\})\n```", text, re.DOTALL)
    assert json.loads(block) == slipway_client.SERVICE_CONFIG


def test_the_callers_options_win() -> None:
    options = dict(channel_options([("grpc.keepalive_time_ms", 1), ("own", 2)]))
    assert (options["grpc.keepalive_time_ms"], options["own"]) == (1, 2)
    assert json.loads(options["grpc.service_config"]) == slipway_client.SERVICE_CONFIG


def test_pings_keep_a_margin_to_what_the_server_allows() -> None:
    from slipway_server.serving.server import MIN_PING_INTERVAL_SECONDS

    assert dict(channel_options())["grpc.keepalive_time_ms"] >= 2 * MIN_PING_INTERVAL_SECONDS * 1000


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("localhost:50051", "dns:///localhost:50051"),
        ("slipway.prod.svc.cluster.local:50051", "dns:///slipway.prod.svc.cluster.local:50051"),
        ("10.0.0.1:50051", "dns:///10.0.0.1:50051"),
        ("[::1]:50051", "dns:///[::1]:50051"),
        ("dns:///name:1", "dns:///name:1"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("unix:/tmp/socket", "unix:/tmp/socket"),
        ("kubernetes:///name:1", "kubernetes:///name:1"),
    ],
)
def test_targets_become_uris(target: str, uri: str) -> None:
    assert target_uri(target) == uri


def test_it_needs_grpcio_and_protobuf_and_nothing_else() -> None:
    """Beside what grpcio itself looks for (grpc_health and others, where they are installed)."""
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert sorted(re.split(r"[<>=]", entry)[0] for entry in project["dependencies"]) == ["grpcio", "protobuf"]
    code = "import slipway_client, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "slipway_client" in loaded
    assert not {"dspy", "slipway_server", "grpc_status", "google.rpc", "pydantic", "aiohttp"} & set(loaded)


@pytest.mark.long
def test_installing_it_brings_no_dspy(tmp_path: Path) -> None:
    """The wheel and its pinned requirements in an environment of their own."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "-w", tmp_path, ROOT / "client"], check=True)
    subprocess.run([*pip, "install", "--require-hashes", "-r", ROOT / "requirements" / "client.txt"], check=True)
    subprocess.run([*pip, "install", "--no-deps", *tmp_path.glob("*.whl")], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    ).stdout
    names = {entry["name"].replace("_", "-") for entry in json.loads(listed)} - {"pip", "setuptools"}
    assert names == {"grpcio", "protobuf", "slipway-client", "typing-extensions"}
    code = "import slipway_client, slipway.rag.v1.rag_pb2_grpc; slipway_client.SlipwayClient('localhost:1').close()"
    subprocess.run([python, "-c", code], check=True, cwd=tmp_path)
