# SPDX-License-Identifier: Apache-2.0
"""Signatures of artifacts: Ed25519 (RFC 8032) over the content digest.

    sign(path, private_pem)                          # writes the manifest's `signature`
    is_signed_by(manifest.signature, manifest.digest, read_keys(public_pem))

The digest names all content of both files, so that a signature over it is one over the artifact. It lies in the
manifest, outside the digest: signing changes neither the artifact's name nor what a deployment asks for. Keys are PEM,
as OpenSSL writes them (`openssl genpkey -algorithm ed25519`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slipway_server.artifacts.canonical import parsed, pretty
from slipway_server.artifacts.files import read_pair, write_atomic
from slipway_server.artifacts.manifest import Manifest, digest_of, manifest_path
from slipway_server.errors import ArtifactInvalid, ConfigInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----(.+?)-----END PUBLIC KEY-----", re.S)
_PURPOSE = b"slipway artifact 1\n"
"""Before the digest, so that no signature made for something else fits."""


def read_keys(text: str) -> tuple[Ed25519PublicKey, ...]:
    """The public keys in `text`: PEM, one or several (to change keys), or the one line of base64 in a PEM.

    Raises ConfigInvalid where it holds anything else.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    keys = []
    for block in _BLOCK.findall(text) or [text]:
        try:
            key = load_der_public_key(base64.b64decode("".join(block.split()), validate=True))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigInvalid(
                "SLIPWAY_ARTIFACT_PUBLIC_KEY is no Ed25519 public key; `openssl pkey -in KEY -pubout` writes one",
                key="SLIPWAY_ARTIFACT_PUBLIC_KEY",
            )
        keys.append(key)
    return tuple(keys)


def is_signed_by(signature: str, digest: str, keys: Sequence[Ed25519PublicKey]) -> bool:
    """Whether one of `keys` made `signature` (base64) for this digest."""
    from cryptography.exceptions import InvalidSignature

    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    for key in keys:
        try:
            key.verify(raw, _PURPOSE + digest.encode())
        except InvalidSignature:
            continue
        return True
    return False


def sign(path: Path, private_pem: bytes) -> Manifest:
    """Sign the artifact at `path`, replacing a signature that is there; returns its manifest.

    Raises:
        ArtifactMissing: The file or its manifest is not there.
        ArtifactInvalid: It differs from its digest.
        ConfigInvalid: `private_pem` is no unencrypted Ed25519 private key.
    """
    pair = read_pair(path)
    state, stated = parsed(pair.state), parsed(pair.manifest)
    try:
        manifest = Manifest.model_validate(stated)
    except ValueError:
        raise ArtifactInvalid(
            f"{path.name}: it or its manifest is damaged; `slipway artifact verify` says how"
        ) from None
    if state is None or stated is None or digest_of(state, stated) != manifest.digest:
        raise ArtifactInvalid(f"{path.name}: differs from its digest; sign it where it was built")
    signed = manifest.model_copy(update={"signature": _signature(manifest.digest, private_pem)})
    write_atomic(manifest_path(path), pretty({**stated, "signature": signed.signature}))
    return signed


def _signature(digest: str, private_pem: bytes) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigInvalid(
            "the key is no unencrypted Ed25519 private key in PEM; `openssl genpkey -algorithm ed25519`"
        )
    return base64.b64encode(key.sign(_PURPOSE + digest.encode())).decode()
