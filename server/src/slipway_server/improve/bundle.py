# SPDX-License-Identifier: Apache-2.0
"""The data bundle: what an artifact is compiled, gated and guarded with, as one folder that is named by its content.

bundle = pack(Path("bundle"), train=…, heldout=…, anchors=…)
bundle = Bundle.open(Path("bundle"))            # every file is checked
bundle.check(manifest)                          # it is the one that the artifact names

train.jsonl  heldout.jsonl  [anchors.jsonl]  bundle.json        # {"train.jsonl": "<sha256>", …}
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import orjson

from slipway_server.artifacts import Manifest
from slipway_server.artifacts.canonical import canonical
from slipway_server.artifacts.files import write_atomic
from slipway_server.errors import DatasetInvalid
from slipway_server.evaluation.datasets import content_of

INDEX = "bundle.json"
TRAIN, HELDOUT, ANCHORS = "train.jsonl", "heldout.jsonl", "anchors.jsonl"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle. `digests`: sha256 by file name."""

    folder: Path
    digests: dict[str, str]

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read and check a bundle. Raises DatasetInvalid where a file is missing or not the packed one."""
        try:
            index = orjson.loads((folder / INDEX).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            index = None
        if not isinstance(index, dict):
            raise DatasetInvalid(f"{folder} is no data bundle: it has no readable {INDEX}")
        for name in {*index, TRAIN, HELDOUT}:
            if name not in (TRAIN, HELDOUT, ANCHORS):
                raise DatasetInvalid(f"{folder / INDEX}: '{name}' is no file of a bundle")
            try:
                found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            except OSError:
                raise DatasetInvalid(f"{folder / name}: is missing") from None
            if found != index.get(name):
                raise DatasetInvalid(f"{folder / name}: is not the file that was packed; pack the bundle again")
        return cls(folder, index)

    @property
    def digest(self) -> str:
        """sha256 over the digests of all files, in hex."""
        return hashlib.sha256(canonical(self.digests)).hexdigest()

    @property
    def train(self) -> Path:
        """Examples to compile with."""
        return self.folder / TRAIN

    @property
    def heldout(self) -> Path:
        """Examples for the gate, which no optimizer ever sees."""
        return self.folder / HELDOUT

    @property
    def anchors(self) -> Path | None:
        """Examples that guard the judge; None where there are none."""
        return self.folder / ANCHORS if ANCHORS in self.digests else None

    def check(self, manifest: Manifest) -> None:
        """Raise DatasetInvalid unless the artifact was compiled and compared with this bundle's files."""
        for use, name in (("train", TRAIN), ("dev", HELDOUT), ("anchors", ANCHORS)):
            noted = manifest.data.get(use)
            if (noted.digest if noted else None) != self.digests.get(name):
                raise DatasetInvalid(
                    f"{self.folder / name} is not the artifact's own '{use}' data; "
                    "mount the bundle that it was compiled with, or give --other-bundle"
                )


def pack(folder: Path, *, train: Path, heldout: Path, anchors: Path | None = None) -> Bundle:
    """Copy the files into `folder` and index them. Raises DatasetInvalid where a file cannot be read."""
    digests = {}
    for name, source in ((TRAIN, train), (HELDOUT, heldout), (ANCHORS, anchors)):
        if source is None:
            continue
        content = content_of(source)
        write_atomic(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    write_atomic(folder / INDEX, orjson.dumps(digests, option=orjson.OPT_INDENT_2))
    return Bundle(folder, digests)
