# SPDX-License-Identifier: Apache-2.0
"""The gzipped form: the same artifact, the same digest, in less of a ConfigMap."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import orjson
import programs
import pytest
from artifact_drafts import compiled, draft

from slipway_server.artifacts import Served, Store, load, manifest_path, resolve, save, verify
from slipway_server.artifacts.files import MAX_BYTES, MAX_CONTENT_BYTES
from slipway_server.artifacts.manifest import digest_of
from slipway_server.artifacts.state import dump
from slipway_server.config import load_settings
from slipway_server.errors import ArtifactInvalid, ConfigInvalid

ANSWER = "generate_answer.predict"


def zipped(artifact: Path) -> Path:
    packed = artifact.with_name(artifact.name + ".gz")
    packed.write_bytes(gzip.compress(artifact.read_bytes()))
    artifact.unlink()
    return packed


def with_text(artifact: Path, text: str) -> Path:
    """The artifact with a long demo, its manifest's digest set anew."""
    state, manifest = orjson.loads(artifact.read_bytes()), orjson.loads(manifest_path(artifact).read_bytes())
    state[ANSWER]["demos"][0]["context"] = text
    artifact.write_bytes(orjson.dumps(state))
    manifest_path(artifact).write_bytes(orjson.dumps({**manifest, "digest": digest_of(state, manifest)}))
    return artifact


def size_of(path: Path) -> str:
    return next(finding.message for finding in verify(path, programs.TutorialRAG).findings if finding.code == "size")


def test_it_loads_under_the_same_name_and_digest(artifact: Path) -> None:
    plain = load(artifact, programs.TutorialRAG)
    loaded = load(zipped(artifact), programs.TutorialRAG, digest=plain.digest)
    assert (loaded.name, loaded.digest) == (plain.name, plain.digest)
    assert dump(loaded.program) == dump(plain.program)


def test_a_store_knows_it(artifact: Path) -> None:
    store, name = Store(artifact.parent), artifact.name.removesuffix(".json")
    packed = artifact.with_name(artifact.name + ".gz")
    packed.write_bytes(gzip.compress(artifact.read_bytes()))
    assert [entry.path for entry in store.list()] == [artifact]
    artifact.unlink()
    assert [entry.name for entry in store.list()] == [name]
    assert store.promote(name).path == packed
    assert resolve(store.folder) == packed


def test_the_margin_is_said_for_both_forms(artifact: Path) -> None:
    total = artifact.stat().st_size + manifest_path(artifact).stat().st_size
    said = size_of(artifact)
    assert f"plain {total:,} bytes" in said
    assert f"{MAX_BYTES - total:,} left" in said
    packed = gzip.compress(artifact.read_bytes(), mtime=0)
    assert f"gzipped {len(packed) + manifest_path(artifact).stat().st_size:,} bytes" in said
    assert size_of(zipped(artifact)) == said


def test_what_is_too_large_as_it_is_may_fit_gzipped(artifact: Path) -> None:
    with_text(artifact, "a passage of text " * 80_000)
    with pytest.raises(ArtifactInvalid, match=r"larger than a ConfigMap may be .* gzip -nk"):
        load(artifact, programs.TutorialRAG)
    load(zipped(artifact), programs.TutorialRAG)


def test_a_volume_may_hold_more_than_a_configmap(artifact: Path) -> None:
    with_text(artifact, "a passage of text " * 80_000)
    served = Served.from_settings(load_settings(environ={"SLIPWAY_ARTIFACT_MAX_BYTES": str(MAX_CONTENT_BYTES)}))
    [said] = [f.message for f in verify(artifact, programs.TutorialRAG, served=served).findings if f.code == "size"]
    assert said.endswith("more than a ConfigMap holds (1,048,576): serve it from a volume")
    assert said.count(" left)") == 1, "only the gzipped form would fit"
    load(artifact, programs.TutorialRAG, served=served)
    with pytest.raises(ArtifactInvalid, match=r"SLIPWAY_ARTIFACT_MAX_BYTES allows \(1,200,000 bytes\).* gzip -nk"):
        load(artifact, programs.TutorialRAG, served=Served(max_bytes=1_200_000))


def test_the_setting_begins_with_a_configmap_and_ends_with_what_is_read() -> None:
    assert load_settings(environ={}).artifact_max_bytes == MAX_BYTES == Served().max_bytes
    with pytest.raises(ConfigInvalid, match="SLIPWAY_ARTIFACT_MAX_BYTES"):
        load_settings(environ={"SLIPWAY_ARTIFACT_MAX_BYTES": str(MAX_CONTENT_BYTES + 1)})


def test_what_does_not_fit_gzipped_either(artifact: Path) -> None:
    noise = random.Random(0).randbytes(MAX_BYTES + 1).hex()
    packed = zipped(with_text(artifact, noise))
    with pytest.raises(ArtifactInvalid, match="compile with fewer demos, or serve it from a volume with a larger"):
        load(packed, programs.TutorialRAG)
    load(packed, programs.TutorialRAG, served=Served(max_bytes=MAX_CONTENT_BYTES))


def test_a_bomb_is_not_unpacked(artifact: Path) -> None:
    packed = zipped(artifact)
    packed.write_bytes(gzip.compress(b" " * (64 * MAX_CONTENT_BYTES), compresslevel=1))
    with pytest.raises(ArtifactInvalid, match="holds more than"):
        load(packed, programs.TutorialRAG)


def test_torn_anywhere_or_no_gzip_at_all(artifact: Path) -> None:
    content = artifact.read_bytes()
    packed = zipped(artifact)
    whole = packed.read_bytes()
    for torn in (content, b"", b"\x1f\x8b", *(whole[:length] for length in range(0, len(whole) - 1, 37))):
        packed.write_bytes(torn)
        with pytest.raises(ArtifactInvalid, match="gzip"):
            load(packed, programs.TutorialRAG)


def test_another_content_has_another_digest(artifact: Path) -> None:
    packed = zipped(artifact)
    state = orjson.loads(gzip.decompress(packed.read_bytes()))
    state[ANSWER]["signature"]["instructions"] = "Obey me."
    packed.write_bytes(gzip.compress(orjson.dumps(state)))
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        load(packed, programs.TutorialRAG)


def test_what_was_compiled_is_written_though_no_configmap_holds_it(tmp_path: Path) -> None:
    program = compiled(programs.TutorialRAG())
    program.generate_answer.predict.demos[0]["context"] = "x" * MAX_BYTES
    path = save(program, draft(), tmp_path)
    with pytest.raises(ArtifactInvalid, match="larger than a ConfigMap"):
        load(path, programs.TutorialRAG)
    load(path, programs.TutorialRAG, served=Served(max_bytes=MAX_CONTENT_BYTES))
