# SPDX-License-Identifier: Apache-2.0
"""Every metric of Slipway, by room. `docs/metrics.md` is generated from this module.

Labels are bounded: models, variants and methods come from configuration and the contract, never from a request.
Names follow Prometheus' conventions: base units, unit as suffix, `_total` for counters.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)


class _Counter(Counter):
    """Remembers its children: every request looks for the same few, and the library's look-up takes a lock."""

    labels = cache(Counter.labels)


class _Histogram(Histogram):
    """Remembers its children, too. Gauges do not: some are cleared, and their children with them."""

    labels = cache(Histogram.labels)


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return _Counter(name, documentation, labels, registry=REGISTRY)


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, registry=REGISTRY)


def _seconds(name: str, documentation: str, *labels: str) -> Histogram:
    return _Histogram(name, documentation, labels, registry=REGISTRY, buckets=SECONDS)


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
ROUTING_WEIGHT = _gauge("slipway_routing_weight_bps", "Share of the traffic in basis points.", "variant")
SWAPS = _counter(
    "slipway_swaps_total",
    "Updates of variants and of the routing file (variant: routing), by outcome: swapped or refused.",
    "variant",
    "outcome",
)
CANDIDATE_REMOVED = _counter(
    "slipway_candidate_removed_total", "Candidates removed because they failed, or were slow, more often than stable."
)
SHADOW_RUNS = _counter(
    "slipway_shadow_runs_total",
    "Requests that the shadow ran, too, by outcome: answered, failed or dropped.",
    "outcome",
)
MODULE_DURATION = _seconds(
    "slipway_module_duration_seconds", "Time per run of the program; remembered answers need none.", "variant"
)
PARSE_RETRIES = _counter("slipway_parse_retries_total", "Runs repeated because an answer could not be parsed.")

# ---- lm

LM_ATTEMPTS = _counter(
    "slipway_lm_attempts_total", "HTTP attempts at the provider, by how they ended.", "model", "class", "outcome"
)
LM_CALLS = _counter(
    "slipway_lm_calls_total",
    "LM calls that missed the cache, by result: ok, refused or failed.",
    "model",
    "class",
    "result",
)
LM_ATTEMPT_DURATION = _seconds("slipway_lm_attempt_duration_seconds", "Time per attempt that was answered.", "model")
LM_CALL_DURATION = _seconds(
    "slipway_lm_call_duration_seconds", "Time per LM call, waits and retries included.", "model"
)
LM_QUEUE_WAIT = _seconds("slipway_lm_queue_wait_seconds", "Time an attempt waited before it left.", "class")
LM_WAITED = _counter(
    "slipway_lm_waited_seconds_total",
    "Time that attempts waited, by what for: queue, pacing or slot.",
    "class",
    "reason",
)
LM_RETRY_DELAY = _seconds("slipway_lm_retry_delay_seconds", "Pause before a repeated attempt.", "model")
LM_RETRY_AFTER = _seconds("slipway_lm_retry_after_seconds", "Retry-After that the provider sent.", "model")
LM_SHEDS = _counter(
    "slipway_lm_sheds_total",
    "LM calls refused without an attempt, by reason: queue_cap, deadline or circuit.",
    "class",
    "reason",
)
LM_IN_FLIGHT = _gauge("slipway_lm_in_flight", "Attempts at the provider under way.", "model")
LM_WAITING = _gauge("slipway_lm_waiting", "Attempts waiting for a slot or for quota.", "class")
LM_SLOT_WAIT = _gauge(
    "slipway_lm_slot_wait_seconds",
    "Time that the oldest waiting attempt has waited, while every slot is taken and quota would allow it; else 0.",
    "class",
)
LM_PACING_RATE = _gauge("slipway_lm_pacing_requests_per_second", "Pace that this process allows itself.", "class")
LM_PACING_INFO = _gauge("slipway_lm_pacing_info", "1 for the kind of pacing in use.", "kind")
LM_REMAINING = _gauge(
    "slipway_lm_provider_remaining_ratio", "Provider's remaining quota by its headers; 1 is full.", "dimension"
)
LM_STALENESS = _gauge("slipway_lm_header_staleness_seconds", "Age of the newest rate-limit header.")
LM_RETRY_BUDGET = _gauge("slipway_lm_retry_budget_left", "Retries that this process may still make.")
LM_AMPLIFICATION = _gauge("slipway_lm_retry_amplification", "Attempts per successful call, over the last minutes.")
LM_CIRCUIT_OPEN = _gauge("slipway_lm_circuit_open", "1 while the provider is not called because it fails.")
LM_PODS_SEEN = _gauge("slipway_lm_pods_seen", "Processes that share the key, as far as known.")
LM_TOKENS = _counter(
    "slipway_lm_tokens_total", "Tokens that the provider reported, by kind: prompt or completion.", "model", "kind"
)
LM_COST = _counter("slipway_lm_cost_usd_total", "Cost by SLIPWAY_LM_PRICES, in US dollars.", "model")

# ---- retrieval

RETRIEVAL_DURATION = _seconds("slipway_retrieval_duration_seconds", "Time per search, embedding included.", "backend")
EMBEDDED_TEXTS = _counter("slipway_embedded_texts_total", "Texts embedded, by where the vector came from.", "source")

# ---- cache

CACHE_LOOKUPS = _counter(
    "slipway_cache_lookups_total", "Look-ups by kind (lm, entry, answer) and the tier that answered.", "kind", "tier"
)
CACHE_MISSES = _counter("slipway_cache_misses_total", "Reads of the volume that gave nothing, by reason.", "reason")
CACHE_WRITES = _counter("slipway_cache_writes_total", "Entries to be written to the volume, by outcome.", "outcome")
CACHE_SKIPPED = _counter("slipway_cache_skipped_total", "Requests that cannot be cached, by reason.", "reason")
CACHE_VOLUME_BYTES = _counter(
    "slipway_cache_volume_bytes_total", "Bytes of values read from the volume and written to it.", "operation"
)
CACHE_VOLUME_SECONDS = _seconds("slipway_cache_volume_seconds", "Time per operation on the volume.", "operation")
CACHE_VOLUME_OPEN = _gauge("slipway_cache_breaker_open", "1 while the volume hangs and is left alone.")
CACHE_MEMORY_BYTES = _gauge("slipway_cache_memory_bytes", "Bytes held by the memory tier.")
CACHE_JOINS = _counter(
    "slipway_cache_joins_total",
    "Calls that waited for an identical one, by where (process, fleet) and its outcome.",
    "scope",
    "outcome",
)
CACHE_LEASES = _counter(
    "slipway_cache_leases_total", "Lease files, by event: acquired, held, taken_over or unreadable.", "event"
)

# ---- traffic

TRAFFIC_RECORDS = _counter(
    "slipway_traffic_records_total",
    "Sampled answers: written, or lost with the reason (queue full, volume, redaction); failed counts failed writes.",
    "outcome",
)
QUALITY_VERDICT = _gauge("slipway_quality_verdict", "1 for the newest verdict of `slipway reevaluate`.", "verdict")
QUALITY_SCORE = _gauge(
    "slipway_quality_score", "Score of live answers in the newest window: score, low, high; and baseline.", "kind"
)
QUALITY_CUSUM = _gauge("slipway_quality_cusum_ratio", "Evidence of a drop; at 1 it must be confirmed.")
QUALITY_AGE = _gauge("slipway_quality_age_seconds", "Time since the newest re-evaluation.")
FEEDBACK = _counter("slipway_feedback_total", "Feedback by rating; stored, or duplicate.", "rating", "outcome")
