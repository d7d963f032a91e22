# SPDX-License-Identifier: Apache-2.0
"""The store: a folder of artifacts and the pointer `current`.

    store = Store(Path("artifacts"))
    store.promote("3f2a91c0")       # by file name, by the name's beginning or by the digest's
    store.current()                 # Path of the current artifact, or None
    store.rollback()                # back to the one before

The pointer is a small JSON file that is replaced atomically, so a reader sees the old artifact or the new one. It names
artifacts by file, remembers the previous ones and is all that promoting changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from slipway_server.artifacts.canonical import pretty
from slipway_server.artifacts.files import write_atomic
from slipway_server.artifacts.manifest import GZIP_SUFFIX, META_SUFFIX, Manifest, manifest_path, name_of
from slipway_server.errors import ArtifactInvalid, ArtifactMissing

POINTER = "current"
_HISTORY = 20


class _Pointer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    artifact: str
    previous: list[str] = []


@dataclass(frozen=True, slots=True)
class Entry:
    """An artifact of a store. The manifest is as it says of itself: loading verifies, listing does not."""

    path: Path
    manifest: Manifest
    current: bool

    @property
    def name(self) -> str:
        """The file's name without .json."""
        return name_of(self.path)


class Store:
    """Artifacts in one folder. Nothing is kept open; every call looks at the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def list(self) -> Sequence[Entry]:
        """Every artifact with a readable manifest, newest first. Raises ArtifactInvalid for a damaged pointer."""
        # Not `current()`: where that one is gone, the others are still there to be promoted.
        pointer = self._pointer()
        found = [
            Entry(path, manifest, pointer is not None and path.name == pointer.artifact)
            for path in self._files()
            if (manifest := read_manifest(path)) is not None
        ]
        return sorted(found, key=lambda entry: (entry.manifest.created, entry.name), reverse=True)

    def _files(self) -> Iterable[Path]:
        """Every artifact's file; of one that is there as it is and gzipped, the former."""
        plain = {path for path in self.folder.glob("*.json") if not path.name.endswith(META_SUFFIX)}
        gzipped = {path for path in self.folder.glob(f"*.json{GZIP_SUFFIX}") if path.with_suffix("") not in plain}
        return sorted(plain | gzipped)

    def find(self, reference: str) -> Entry:
        """The one artifact whose file name or digest begins with `reference`. Raises ArtifactMissing."""
        wanted = name_of(Path(reference))
        entries = self.list()
        exact = [entry for entry in entries if wanted in (entry.name, entry.manifest.digest)]
        matches = exact or [
            entry
            for entry in entries
            if wanted and (entry.name.startswith(wanted) or entry.manifest.digest.startswith(wanted))
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ArtifactMissing(
                f"'{reference}' means {len(matches)} artifacts of {self.folder}; give more of the name"
            )
        raise ArtifactMissing(
            f"no artifact '{reference}' in {self.folder}; `slipway artifact list` shows what there is"
        )

    def current(self) -> Path | None:
        """The current artifact's file, or None where none was promoted yet. Raises ArtifactMissing, ArtifactInvalid."""
        pointer = self._pointer()
        if pointer is None:
            return None
        path = self.folder / pointer.artifact
        if not path.is_file():
            raise ArtifactMissing(
                f"{self.folder / POINTER} names {pointer.artifact}, which is not there; promote another one"
            )
        return path

    def promote(self, reference: str) -> Entry:
        """Make the artifact that `reference` means the current one. Raises ArtifactMissing, ArtifactInvalid."""
        entry = self.find(reference)
        before = self._pointer()
        previous = []
        if before is not None:
            if before.artifact == entry.path.name:
                return entry
            previous = [before.artifact, *before.previous][:_HISTORY]
        self._point(_Pointer(artifact=entry.path.name, previous=previous))
        return Entry(entry.path, entry.manifest, current=True)

    def rollback(self) -> Entry:
        """Make the artifact before the current one current again. Raises ArtifactMissing where there is none."""
        pointer = self._pointer()
        if pointer is None or not pointer.previous:
            raise ArtifactMissing(f"store {self.folder} has no previous artifact to go back to")
        back, *older = pointer.previous
        # By its whole name: `find` would take another one whose name begins alike.
        path = self.folder / back
        manifest = read_manifest(path)
        if manifest is None or not path.is_file():
            raise ArtifactMissing(f"{back}, the artifact before, is not in {self.folder} any more; promote another one")
        self._point(_Pointer(artifact=back, previous=older))
        return Entry(path, manifest, current=True)

    def _point(self, pointer: _Pointer) -> None:
        write_atomic(self.folder / POINTER, pretty(pointer.model_dump()))

    def _pointer(self) -> _Pointer | None:
        try:
            content = (self.folder / POINTER).read_bytes()
        except FileNotFoundError:
            return None
        try:
            pointer = _Pointer.model_validate(orjson.loads(content))
        except (orjson.JSONDecodeError, ValidationError):
            pointer = None
        if pointer is None or any(Path(name).name != name for name in (pointer.artifact, *pointer.previous)):
            raise ArtifactInvalid(f"{self.folder / POINTER} is damaged; remove it and promote an artifact")
        return pointer


def resolve(path: Path) -> Path:
    """The artifact that a configuration means by `path`: the file itself, or the current one of a store's folder.

    Raises ArtifactMissing, ArtifactInvalid.
    """
    if not path.is_dir():
        return path
    current = Store(path).current()
    if current is None:
        raise ArtifactMissing(
            f"store {path} has no current artifact; `slipway artifact promote NAME` makes one current"
        )
    return current


def read_manifest(path: Path) -> Manifest | None:
    """The manifest beside the artifact at `path`, unverified; None where there is none or it is not one."""
    try:
        return Manifest.model_validate_json(manifest_path(path).read_bytes())
    except (OSError, ValidationError):
        return None
