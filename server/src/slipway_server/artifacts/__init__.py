# SPDX-License-Identifier: Apache-2.0
"""Artifacts and their store: the compiled state of a program, verified before it is loaded.

    path = save(program, manifest, folder)                       # writes the pair of files
    loaded = load(path, RAG, digest="…")                         # raises Artifact…, else a fresh program
    store = Store(folder); store.promote("3f2a"); store.current()

An artifact is two files: `NAME.json` is what DSPy's own `program.save` writes (demos, instructions), `NAME.meta.json`
the manifest. DSPy's `load` takes almost any JSON and sets what it finds there as attributes; here every key is on an
allow-list, and the program's predictors and fields must be those that were compiled.
"""

from slipway_server.artifacts.findings import Finding, Served, Severity
from slipway_server.artifacts.fingerprint import fingerprint, shape_of
from slipway_server.artifacts.loading import LoadedArtifact, load, save
from slipway_server.artifacts.manifest import Manifest, manifest_path
from slipway_server.artifacts.store import Entry, Store, resolve
from slipway_server.artifacts.verify import Report, verify

__all__ = [
    "Entry",
    "Finding",
    "LoadedArtifact",
    "Manifest",
    "Report",
    "Served",
    "Severity",
    "Store",
    "fingerprint",
    "load",
    "manifest_path",
    "resolve",
    "save",
    "shape_of",
    "verify",
]
