# SPDX-License-Identifier: Apache-2.0
"""A collection is searched by the name of what made it: vectors that change under an unchanged name go unnoticed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from slipway_server.config import load_settings
from slipway_server.retrieval.embedders import open_encoder
from slipway_server.retrieval.types import Passage

PASSAGES = [
    Passage(
        "1",
        "Port Callow",
        "Port Callow was founded in 1674 by six herring merchants. The harbour lies below Candle Head.",
    ),
    Passage("2", "Candle Head", "Candle Head shelters Port Callow from the west; its lighthouse was lit in 1861."),
]
QUESTIONS = ["When was Port Callow founded?", "What shelters the harbour?"]


@pytest.mark.parametrize(
    ("model", "name", "digest"),
    [
        ("offline/hashing", "offline/hashing", "9b568b4857409cd7"),
        ("offline/bm25", "offline/bm25", "d39bce26f7c8fa23"),
        ("offline/fused", "offline/fused-2", "559b57109117c635"),
    ],
)
async def test_vectors_changed_so_change_the_encoders_name_too(model: str, name: str, digest: str) -> None:
    encoder = open_encoder(load_settings({"embedding_model": model}, environ={}), None)
    fitted = encoder.fitted(PASSAGES)
    sha = hashlib.sha256()
    for encoded in (await fitted.passages(PASSAGES), await encoder.queries(QUESTIONS)):
        if encoded.dense is not None:
            sha.update(np.round(encoded.dense, 4).astype("<f4").tobytes())
        for row in encoded.sparse or ():
            pairs = sorted(zip(row.indices, (round(value, 4) for value in row.values), strict=True))
            sha.update(repr(pairs).encode())
    assert (encoder.name, sha.hexdigest()[:16]) == (name, digest)
