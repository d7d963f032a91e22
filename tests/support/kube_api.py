# SPDX-License-Identifier: Apache-2.0
"""As much of an API server as Helm's `lookup` asks for, over HTTP: the objects of the namespace `search`.

with answering({"secrets/openai": {"api-key"}}) as url:
    helm.render("default", "--dry-run=server", "--kube-apiserver", url)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {"configmaps": "ConfigMap", "secrets": "Secret", "persistentvolumeclaims": "PersistentVolumeClaim"}
SPACE = "/api/v1/namespaces/search/"
ROOT = "configmaps/kube-root-ca.crt"
"""Which every namespace has."""

Held = Mapping[str, Collection[str]]
"""What there is: kind and name, with the keys of its data."""


@contextmanager
def answering(held: Held) -> Iterator[str]:
    """The address of one that has these objects, and what every namespace has."""
    known = {"/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}, **_discovery()}
    known |= {SPACE + path: _object(path, keys) for path, keys in {**held, ROOT: ["ca.crt"]}.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.get(self.path.partition("?")[0])
            missing = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not to standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _discovery() -> dict[str, Any]:
    resources = [{"name": name, "kind": kind, "namespaced": True, "verbs": ["get"]} for name, kind in KINDS.items()]
    return {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources},
    }


def _object(path: str, keys: Collection[str]) -> dict[str, Any]:
    plural, _, name = path.partition("/")
    metadata = {"name": name, "namespace": "search"}
    return {"apiVersion": "v1", "kind": KINDS[plural], "metadata": metadata, "data": dict.fromkeys(keys, "eA==")}
