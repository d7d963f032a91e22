# SPDX-License-Identifier: Apache-2.0
"""Every metric of Slipway, by room. `docs/metrics.md` is generated from this module.

Labels are bounded: models, variants and methods come from configuration and the contract, never from a request.
Names follow Prometheus' conventions: base units, unit as suffix, `_total` for counters.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, registry=REGISTRY)


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, registry=REGISTRY)


def _seconds(name: str, documentation: str, *labels: str) -> Histogram:
    return Histogram(name, documentation, labels, registry=REGISTRY, buckets=SECONDS)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


# ---- serving

RPC_DURATION = _seconds("slipway_rpc_duration_seconds", "Time in the server per RPC.", "method", "code")
RPC_IN_FLIGHT = _gauge("slipway_rpc_in_flight", "RPCs under way.", "method")
RPC_RETRIES_SEEN = _counter("slipway_rpc_retries_seen_total", "RPCs that are a client's repeated attempt.", "method")
ERRORS = _counter("slipway_errors_total", "RPCs that failed, by reason of docs/errors.md.", "reason")

# ---- runtime

VARIANT_INFO = _gauge("slipway_variant_info", "1 for what is served now.", "program", "variant", "artifact", "digest")
MODULE_DURATION = _seconds("slipway_module_duration_seconds", "Time per run of the program.", "variant")
PARSE_RETRIES = _counter("slipway_parse_retries_total", "Runs repeated because an answer could not be parsed.")

# ---- retrieval

RETRIEVAL_DURATION = _seconds("slipway_retrieval_duration_seconds", "Time per search, embedding included.", "backend")
EMBEDDED_TEXTS = _counter("slipway_embedded_texts_total", "Texts embedded, by where the vector came from.", "source")
