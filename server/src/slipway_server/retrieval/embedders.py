# SPDX-License-Identifier: Apache-2.0
"""The encoder that SLIPWAY_EMBEDDING_MODEL names."""

from __future__ import annotations

from slipway_server.cache.protocol import EntryStore
from slipway_server.config import OFFLINE_EMBEDDER, Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.retrieval.bm25 import Bm25Encoder
from slipway_server.retrieval.encoding import DenseEncoder, Encoder, FusedEncoder, Fusion
from slipway_server.retrieval.hashing import HashingEmbedder

OFFLINE = "offline/"
BEST_OFFLINE = "offline/bm25"
"""What `offline/default` means: its recall@5 is equalled only by fusion, which finds less at 3 and costs ten times as
much (table in docs/retrieval.md)."""
FUSION = Fusion(k=2, sparse_weight=2.0)


def open_encoder(settings: Settings, store: EntryStore | None = None) -> Encoder:
    """The configured encoder. `store` remembers an endpoint's vectors by text. Raises ConfigInvalid."""
    name = settings.embedding_model
    if name == OFFLINE_EMBEDDER:
        name = BEST_OFFLINE
    if not name.startswith(OFFLINE):
        from slipway_server.retrieval.endpoint import EndpointConfig, EndpointEmbedder

        return DenseEncoder(EndpointEmbedder(EndpointConfig.from_settings(settings), store))
    dimension = settings.embedding_dimension
    match name.removeprefix(OFFLINE):
        case "bm25":
            return Bm25Encoder()
        case "hashing":
            return DenseEncoder(HashingEmbedder(dimension))
        case "fused":
            return FusedEncoder("offline/fused", DenseEncoder(HashingEmbedder(dimension)), Bm25Encoder(), FUSION)
    raise ConfigInvalid(
        f"SLIPWAY_EMBEDDING_MODEL: {settings.embedding_model[:60]} is not built in; use offline/default, offline/bm25, "
        "offline/hashing, offline/fused, or an endpoint's model",
        key="SLIPWAY_EMBEDDING_MODEL",
    )
