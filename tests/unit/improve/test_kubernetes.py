# SPDX-License-Identifier: Apache-2.0
"""The hand-over in a cluster, against an API server that keeps names unique and remembers what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway_server.artifacts.files import MAX_BYTES
from slipway_server.errors import ArtifactInvalid, ClusterRefused, ConfigInvalid
from slipway_server.improve.handover import commands, config_map_name, publish, start_job
from slipway_server.improve.kubernetes import Cluster

DIGEST = "ab" * 32
REPORT = {"digest": DIGEST, "reason": "0.70 on fresh answers", "recompile": {"window": "2026-11-20"}}
TEMPLATE = {
    "metadata": {"name": "slipway-recompile", "uid": "u-1"},
    "spec": {
        "suspend": True,
        "jobTemplate": {
            "metadata": {"labels": {"app.kubernetes.io/component": "recompile"}},
            "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "recompile"}]}}},
        },
    },
}


class Api:
    """Objects by path. `denied`: paths that are answered 403."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {"/apis/batch/v1/namespaces/prod/cronjobs/slipway-recompile": TEMPLATE}
        self.tokens: list[str] = []
        self.denied: set[str] = set()

    def kinds(self, kind: str) -> list[Any]:
        return [value for path, value in self.objects.items() if f"/{kind}/" in path]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = api.objects.get(self.path)
            self._answer(200 if found else 404, found or {"message": f"{self.path} not found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.tokens.append(self.headers["Authorization"])
            path = f"{self.path}/{body['metadata']['name']}"
            if self.path.rpartition("/")[2] in api.denied:
                self._answer(403, {"message": "forbidden: User cannot create resource"})
            elif path in api.objects:
                self._answer(409, {"message": "already exists"})
            else:
                api.objects[path] = body
                self._answer(201, body)

        def _answer(self, code: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with Cluster(f"http://127.0.0.1:{server.server_port}", "prod", "secret-token") as made:
            yield made
        server.shutdown()
        thread.join()


def test_a_job_is_made_from_the_suspended_template_once(cluster: Cluster, api: Api) -> None:
    started = start_job(cluster, "slipway-recompile", REPORT)
    assert started == f"Job slipway-recompile-{DIGEST[:16]} recompiles"
    assert "exists already" in start_job(cluster, "slipway-recompile", REPORT)
    [job] = api.kinds("jobs")
    assert job["spec"] == TEMPLATE["spec"]["jobTemplate"]["spec"]
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "recompile"
    assert job["metadata"]["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual"}
    assert job["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    [event] = api.kinds("events")
    assert (event["reason"], event["type"], event["involvedObject"]["kind"]) == ("QualityDegraded", "Warning", "Job")
    assert set(api.tokens) == {"Bearer secret-token"}


def test_names_fit(cluster: Cluster, api: Api) -> None:
    long = "x" * 52
    api.objects[f"/apis/batch/v1/namespaces/prod/cronjobs/{long}"] = TEMPLATE
    start_job(cluster, long, REPORT)
    [job] = api.kinds("jobs")
    assert len(job["metadata"]["name"]) == 63
    assert job["metadata"]["name"].endswith(DIGEST[:16])


def result(folder: Path) -> dict[str, Any]:
    path = folder / "rag-1.json"
    path.write_text('{"state": 1}')
    (folder / "rag-1.meta.json").write_text('{"digest": "…"}')
    return {
        "verdict": "PASS",
        "words": "better by +0.100",
        "file": str(path),
        "candidate": {"digest": DIGEST},
        "incumbent": {"digest": "cd" * 32},
    }


def test_a_candidate_becomes_an_immutable_config_map_with_an_event(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    for _ in range(2):
        assert (
            publish(cluster, result(tmp_path), "shop") == config_map_name("shop", DIGEST) == "shop-candidate-abababab"
        )
    [published] = api.kinds("configmaps")
    assert published["immutable"] is True
    assert published["data"] == {"rag-1.json": '{"state": 1}', "rag-1.meta.json": '{"digest": "…"}'}
    assert published["metadata"]["labels"]["app.kubernetes.io/component"] == "candidate"
    assert published["metadata"]["annotations"]["slipway/digest"] == DIGEST
    assert len(api.kinds("events")) == 1


def test_a_candidate_that_no_config_map_holds_is_left_on_the_volume(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    large = result(tmp_path)
    Path(large["file"]).write_text("x" * MAX_BYTES, "utf-8")
    with pytest.raises(ArtifactInvalid, match=rf"it is in {tmp_path}: give it .* artifacts.NAME.digest={DIGEST}"):
        publish(cluster, large, "shop")
    assert not api.kinds("configmaps")


def test_what_is_refused_is_said_in_one_line(cluster: Cluster, api: Api) -> None:
    api.denied = {"jobs"}
    with pytest.raises(ClusterRefused, match="403, forbidden: User cannot create"):
        start_job(cluster, "slipway-recompile", REPORT)
    with pytest.raises(ClusterRefused, match="404"):
        start_job(cluster, "nosuch", REPORT)
    with (
        Cluster("http://127.0.0.1:1", "prod", "t") as away,
        pytest.raises(ClusterRefused, match="does not answer"),
    ):
        start_job(away, "slipway-recompile", REPORT)


def test_outside_a_pod_there_is_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no pod"):
        Cluster.inside(tmp_path, {})
    for name, text in (("token", "t"), ("namespace", "prod")):
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigInvalid, match="no pod"):
        Cluster.inside(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def test_the_printed_commands_go_from_ten_percent_to_stable(tmp_path: Path) -> None:
    local = commands(result(tmp_path))
    assert ["# 10 %" in local[0], "# 50 %" in local[1], "# stable" in local[2]] == [True] * 3
    assert "SLIPWAY_CANDIDATE_WEIGHT_BPS=1000" in local[0]
    assert local[2].startswith(f"slipway artifact promote {DIGEST[:8]}")
    helm = commands(result(tmp_path), release="shop", namespace="prod", chart="oci://x/slipway")
    assert all(line.startswith("helm upgrade shop oci://x/slipway -n prod --reset-then-reuse-values") for line in helm)
    assert "artifacts.cabababab.existingConfigMap=shop-candidate-abababab" in helm[0]
    assert "variants.candidate.weight=5000" in helm[1]
    assert "variants.stable.artifact=cabababab" in helm[2]
