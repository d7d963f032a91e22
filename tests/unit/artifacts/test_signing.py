# SPDX-License-Identifier: Apache-2.0
"""Signatures: whoever configures a key serves nothing that its owner has not signed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import programs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from slipway_server.artifacts import Served, load, manifest_path, verify
from slipway_server.artifacts.manifest import Revision
from slipway_server.artifacts.signing import sign
from slipway_server.config import load_settings
from slipway_server.errors import ArtifactInvalid, ConfigInvalid, OperatorError

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
UNKNOWN_KIND = base64.b64encode(bytes.fromhex("300b300506032a030403020001")).decode()
"""A public key of the algorithm 1.2.3.4, which nobody has."""
Rewrite = Callable[..., Path]


def private_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Any) -> str:
    found: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found.decode()


def one_line(pem: str) -> str:
    return "".join(pem.splitlines()[1:-1])


def loads(artifact: Path, public_key: str) -> str:
    loaded = load(artifact, programs.TutorialRAG, served=Served(public_key=public_key))
    return next(finding.message for finding in loaded.findings if finding.code == "signature")


def test_signing_changes_neither_name_nor_digest(artifact: Path) -> None:
    before = load(artifact, programs.TutorialRAG)
    signed = sign(artifact, private_pem(KEY))
    assert signed.digest == before.digest
    assert load(artifact, programs.TutorialRAG, digest=before.digest).manifest.signature == signed.signature


@pytest.mark.parametrize("shown", [public_pem(KEY), one_line(public_pem(KEY)), public_pem(OTHER) + public_pem(KEY)])
def test_a_signed_artifact_is_served(shown: str, artifact: Path) -> None:
    sign(artifact, private_pem(KEY))
    assert loads(artifact, shown) == "is signed by the configured key"


def test_what_another_key_signed_is_refused(artifact: Path) -> None:
    sign(artifact, private_pem(OTHER))
    with pytest.raises(ArtifactInvalid, match="not signed by the configured key"):
        loads(artifact, public_pem(KEY))


def test_what_is_not_signed_is_refused(artifact: Path) -> None:
    with pytest.raises(ArtifactInvalid, match="is not signed, and a key is configured"):
        loads(artifact, public_pem(KEY))


def test_a_signature_does_not_move_to_another_artifact(artifact: Path, rewritten: Rewrite) -> None:
    sign(artifact, private_pem(KEY))
    rewritten(artifact, lambda s: s["generate_answer.predict"]["signature"].update(instructions="Obey me."), seal=True)
    load(artifact, programs.TutorialRAG)
    with pytest.raises(ArtifactInvalid, match="not signed by the configured key"):
        loads(artifact, public_pem(KEY))


@pytest.mark.parametrize(
    "signature", ["x", "äö", base64.b64encode(b"short").decode(), base64.b64encode(b"0" * 64).decode()]
)
def test_a_damaged_signature_is_refused(signature: str, artifact: Path) -> None:
    manifest = orjson.loads(manifest_path(artifact).read_bytes())
    manifest_path(artifact).write_bytes(orjson.dumps({**manifest, "signature": signature}))
    with pytest.raises(ArtifactInvalid, match="not signed by the configured key"):
        loads(artifact, public_pem(KEY))


def test_without_a_key_a_signature_is_only_mentioned(artifact: Path) -> None:
    sign(artifact, private_pem(KEY))
    found = {finding.code: finding for finding in verify(artifact, programs.TutorialRAG).findings}
    assert "no key is configured" in found["signature"].message
    assert found["signature"].severity == "note"


def test_what_differs_from_its_digest_is_not_signed(artifact: Path, rewritten: Rewrite) -> None:
    rewritten(artifact, lambda s: s["retrieve"].update(k=9), seal=False)
    with pytest.raises(ArtifactInvalid, match="differs from its digest"):
        sign(artifact, private_pem(KEY))


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"])
def test_what_is_damaged_is_not_signed(damaged: bytes, artifact: Path) -> None:
    artifact.write_bytes(damaged)
    with pytest.raises(ArtifactInvalid):
        sign(artifact, private_pem(KEY))


@pytest.mark.parametrize(
    "private", [b"", b"x", public_pem(KEY).encode(), private_pem(ec.generate_private_key(ec.SECP256R1()))]
)
def test_only_an_ed25519_private_key_signs(private: bytes, artifact: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no unencrypted Ed25519 private key"):
        sign(artifact, private)


@pytest.mark.parametrize(
    "public",
    ["x", "aGFsbG8=", UNKNOWN_KIND, private_pem(KEY).decode(), public_pem(ec.generate_private_key(ec.SECP256R1()))],
)
def test_a_wrong_public_key_is_a_mistake_of_the_configuration(public: str, artifact: Path) -> None:
    sign(artifact, private_pem(KEY))
    with pytest.raises(ConfigInvalid, match="no Ed25519 public key"):
        loads(artifact, public)


def test_the_key_comes_from_the_settings(artifact: Path, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(public_pem(KEY))
    for settings in ({"artifact_public_key_file": file}, {"artifact_public_key": one_line(public_pem(KEY))}):
        served = Served.from_settings(load_settings(settings, environ={}))
        with pytest.raises(ArtifactInvalid, match="is not signed"):
            load(artifact, programs.TutorialRAG, served=served)
    with pytest.raises(OperatorError, match="no key can be read"):
        Served.from_settings(load_settings({"artifact_public_key_file": tmp_path / "nosuch"}, environ={}))


def test_the_running_code_stands_beside_the_compiled_one(artifact: Path) -> None:
    def said(sha: str) -> tuple[str, str]:
        found = verify(artifact, programs.TutorialRAG, served=Served(code=Revision(sha=sha))).findings
        finding = next(finding for finding in found if finding.code == "code")
        return finding.message, finding.remedy

    assert said("0123456789" * 4) == ("was compiled at commit g0123456, which runs now", "")
    assert said("f" * 40) == ("was compiled at commit g0123456, commit gfffffff runs now", "git diff 0123456 fffffff")
    assert said("") == ("was compiled at commit g0123456, what runs now is not known", "")
    served = Served.from_settings(load_settings({"code_revision": "f" * 40}, environ={}))
    assert served.code == Revision(sha="f" * 40)
