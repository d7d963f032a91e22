# SPDX-License-Identifier: Apache-2.0
"""The encoder that SLIPWAY_EMBEDDING_MODEL names."""

from __future__ import annotations

from slipway_server.cache.protocol import EntryStore
from slipway_server.config import OFFLINE_EMBEDDER, Settings
from slipway_server.errors import ConfigInvalid
from slipway_server.retrieval.bm25 import Bm25Encoder
from slipway_server.retrieval.encoding import DenseEncoder, Encoder, FusedEncoder, Fusion
from slipway_server.retrieval.hashing import HashingEmbedder
from slipway_server.retrieval.tfidf import TfIdfEncoder

OFFLINE = "offline/"
FUSED = "offline/fused-2"
"""What collections of `offline/fused` remember; in its first version the passages were hashed without idf."""
FUSION = Fusion(dense_weight=2.0)


def open_encoder(settings: Settings, store: EntryStore | None = None) -> Encoder:
    """The configured encoder. `store` remembers an endpoint's vectors by text. Raises ConfigInvalid."""
    name, dimension = settings.embedding_model, settings.embedding_dimension
    if name == OFFLINE_EMBEDDER:
        return _Default(dimension)
    if not name.startswith(OFFLINE):
        from slipway_server.retrieval.endpoint import EndpointConfig, EndpointEmbedder

        return DenseEncoder(EndpointEmbedder(EndpointConfig.from_settings(settings), store))
    encoder = built_in(name, dimension)
    if encoder is None:
        raise ConfigInvalid(
            f"SLIPWAY_EMBEDDING_MODEL: {name[:60]} is not built in; use offline/default, offline/bm25, "
            "offline/hashing, offline/fused, or an endpoint's model",
            key="SLIPWAY_EMBEDDING_MODEL",
        )
    return encoder


def built_in(name: str, dimension: int) -> Encoder | None:
    """The built-in encoder of that name, as configured or as a collection remembers it; None where it is none."""
    match name:
        case "offline/bm25":
            return Bm25Encoder()
        case "offline/hashing":
            return DenseEncoder(HashingEmbedder(dimension))
        case "offline/fused" | "offline/fused-2":
            return _Fused(dimension)
    return None


class _Fused(FusedEncoder):
    """BM25 and hashed tf-idf. Questions have the same vectors as in its first version, which it therefore reads."""

    def __init__(self, dimension: int) -> None:
        super().__init__(FUSED, TfIdfEncoder(dimension), Bm25Encoder(), FUSION, also_reads=("offline/fused",))


class _Default(_Fused):
    """Makes what recalls best (table in docs/retrieval.md), and reads whatever a built-in encoder has made: a release
    that chooses anew leaves the collections of the one before it readable."""

    def reading(self, name: str, dimension: int) -> Encoder | None:
        """The built-in encoder that made it."""
        return built_in(name, dimension)
