# SPDX-License-Identifier: Apache-2.0
"""All configuration: one frozen object, the same keys in the environment, in a file and in the chart.

    settings = load_settings(overrides={"lm_model": "openai/gpt-4o-mini"})

Order of precedence: command-line options, environment, file (`SLIPWAY_CONFIG_FILE`, KEY=value lines), defaults. The set
is closed: an unknown SLIPWAY_… key, any unknown key or line of the file, or a wrong value raises ConfigInvalid, which
names it. Rooms take their own small frozen config objects, made from these settings.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from dotenv.parser import Original, parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from slipway_server.errors import ConfigInvalid

PREFIX = "SLIPWAY_"
CACHE_DIR_KEY = "DSPY_CACHEDIR"
FILE_KEY = "SLIPWAY_CONFIG_FILE"
TEST_QDRANT_KEY = "SLIPWAY_TEST_QDRANT_URL"
SERVICE_LINK = re.compile(r"SLIPWAY_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")
"""What Kubernetes puts into a container's environment for a Service named slipway…; none of these is a key of ours."""
OFFLINE_MODEL = "offline/extractive"
OFFLINE_EMBEDDER = "offline/default"


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if "@" in parts.netloc:  # `slipway config` would show it, and clients differ in what they make of it
        raise ValueError("an address must not hold a user or password; keys have settings of their own")
    # Reading the port raises ValueError where it is no number, or too large a one.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"'{value[:80]}' is not an address such as http://localhost:8080/v1")
    return value


HttpAddress = Annotated[str, AfterValidator(_http_address)]


class Settings(BaseSettings):
    """Every key. Units are in the names; None means off or not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, allow_inf_nan=False
    )

    # what is served
    program: str = Field("slipway_server.programs.rag:RAG", description="Program to serve, package.module:Class.")
    artifact: Path | None = Field(
        None, description="Artifact file, or a store folder, whose current artifact is then served."
    )
    artifact_digest: str | None = Field(None, description="Digest that the artifact must have.")
    artifact_public_key: str | None = Field(
        None, description="Ed25519 public key, as PEM or its base64. If set, artifacts must be signed with it."
    )
    artifact_public_key_file: Path | None = Field(
        None, description="File with that key, as PEM; may hold several keys."
    )
    artifact_max_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Artifacts, with their manifest, must be smaller. A ConfigMap holds the default, a volume more.",
    )
    code_revision: str | None = Field(
        None, description="Git commit of the running code, for images without a repository."
    )
    allow_uncompiled: bool = Field(False, description="Serve the program uncompiled if no artifact is named.")
    candidate_artifact: Path | None = Field(None, description="Artifact of the variant `candidate`.")
    candidate_artifact_digest: str | None = Field(None, description="Digest that the candidate must have.")
    candidate_weight_bps: int = Field(
        0, ge=0, le=10_000, description="The candidate's share of routing keys, in basis points."
    )
    candidate_error_margin: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="A candidate that fails more often than stable by this share of answers is removed.",
    )
    candidate_latency_ratio: float = Field(
        2.0, gt=1, description="A candidate that is slower than stable by this factor is removed."
    )
    shadow_artifact: Path | None = Field(None, description="Artifact of the variant `shadow`, which never answers.")
    shadow_artifact_digest: str | None = Field(None, description="Digest that the shadow must have.")
    shadow_weight_bps: int = Field(0, ge=0, le=10_000, description="The shadow's share of requests, in basis points.")
    routing_dir: Path | None = Field(None, description="Watched folder with routing.json, which overrides the weights.")
    routing_salt: str = Field("slipway", description="A different salt assigns different keys to the candidate.")
    hot_reload: bool = Field(
        False, description="Swap a variant when its artifact, or the current one of its store, changes."
    )
    watch_seconds: float = Field(5.0, gt=0, description="How often watched folders are checked.")
    prewarm_file: Path | None = Field(None, description="Questions (JSON Lines) to ask before an artifact is ready.")
    prewarm_limit: int = Field(100, ge=1, description="Maximum number of questions to ask from that file.")
    prewarm_seconds: float = Field(60.0, gt=0, description="Longest time that readiness waits for them.")
    callbacks: str | None = Field(None, description="DSPy callbacks to add, module:Class, comma-separated.")
    sync_workers: int = Field(32, ge=1, description="Threads for programs that only have forward().")

    # retrieval
    collection: str = Field("docs", min_length=1, description="Collection to retrieve from.")
    retrieval_k: int = Field(3, ge=1, le=100, description="Passages per query.")
    data_dir: Path = Field(Path(".slipway/data"), description="Folder of embedded collections.")
    scratch_dir: Path | None = Field(
        None, description="Folder for this process's own copies; unset means the system's temporary folder."
    )
    qdrant_url: str | None = Field(None, description="Qdrant server or cluster; unset means embedded.")
    qdrant_api_key: SecretStr | None = Field(None, description="API key of the Qdrant server.")
    qdrant_grpc_port: int = Field(6334, ge=1, le=65535, description="The Qdrant server's gRPC port.")
    embedding_model: str = Field(
        OFFLINE_EMBEDDER, description="Embedder: offline/… is built in, anything else is the endpoint's model name."
    )
    embedding_base_url: HttpAddress | None = Field(
        None, description="OpenAI-compatible endpoint for embeddings, ending in /v1."
    )
    embedding_api_key: SecretStr | None = Field(None, description="API key of the embedding endpoint.")
    embedding_api_key_file: Path | None = Field(None, description="File with that key; read again when it changes.")
    embedding_dimension: int = Field(1024, ge=1, le=65536, description="Dimension of the vectors.")
    embedding_timeout_seconds: float = Field(30.0, gt=0, description="Time limit of one embedding request.")

    # the LM
    lm_model: str = Field(
        OFFLINE_MODEL,
        description="LM, as provider/model. offline/extractive is the built-in reader, which is not an LM.",
    )
    lm_base_url: HttpAddress | None = Field(
        None, description="OpenAI-compatible endpoint, ending in /v1; unset means the provider's own."
    )
    lm_api_key: SecretStr | None = Field(None, description="The provider's API key.")
    lm_api_key_file: Path | None = Field(None, description="File with that key; read again when it changes.")
    lm_temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    lm_max_tokens: int = Field(1000, ge=1, description="Maximum number of tokens in one completion.")
    lm_rpm: float | None = Field(None, gt=0, description="The key's limit in requests per minute, shared by all pods.")
    lm_tpm: float | None = Field(None, gt=0, description="The key's limit in tokens per minute, shared by all pods.")
    lm_max_concurrency: int = Field(64, ge=1, description="Maximum number of LM calls of this process in flight.")
    lm_pacing: Literal["auto", "fixed", "priced", "share", "off"] = Field(
        "auto", description="How processes share the provider's quota."
    )
    lm_burst_seconds: float = Field(60.0, gt=0, description="Size of the provider's bucket, in seconds of its limit.")
    lm_peers_dns: str | None = Field(
        None, description="Name of the headless Service; its address records are the live pods."
    )
    lm_replicas: int = Field(1, ge=1, description="Pods that share the key, if SLIPWAY_LM_PEERS_DNS is unset.")
    lm_max_attempts: int = Field(
        5, ge=1, le=20, description="Maximum number of attempts per LM call, including the first."
    )
    lm_attempt_timeout_seconds: float = Field(120.0, gt=0, description="Time limit of one attempt.")
    lm_retry_after_cap_seconds: float = Field(30.0, gt=0, description="Longest Retry-After that is waited for.")
    lm_queue_cap_seconds: float = Field(
        10.0, gt=0, description="An interactive call that would wait longer than this is refused."
    )
    lm_prices: str | None = Field(
        None, description="Prices in US dollars per million tokens, prompt:completion, such as 0.15:0.60."
    )

    # the cache
    cache: Literal["on", "memory", "off"] = Field(
        "on", description="on: shared volume and memory; memory: memory only; off: none."
    )
    cache_namespace: str = Field(
        "default", min_length=1, description="Entries of different namespaces are never shared."
    )
    cache_memory_bytes: int = Field(256 * 1024 * 1024, ge=0, description="Size of the memory tier.")
    cache_ttl_seconds: float | None = Field(
        None, gt=0, description="Age at which an entry is no longer used; unset means never."
    )
    cache_timeout_seconds: float = Field(
        0.5, gt=0, description="A read from the volume that takes longer counts as a miss."
    )
    cache_fsync: bool = Field(False, description="Flush entries to disk before other processes can see them.")
    cache_lease_seconds: float = Field(
        10.0, gt=0, description="A lease without a heartbeat for this long is taken over."
    )
    cache_answers: bool = Field(False, description="Cache whole answers, by artifact, inputs and collection version.")

    # recorded traffic and the loop
    traffic_dir: Path | None = Field(
        None, description="Folder for recorded answers and feedback; unset means that nothing is recorded."
    )
    traffic_sample: float = Field(
        0.05, ge=0, le=1, description="Share of requests to record, chosen by a hash of their id."
    )
    traffic_fields: str | None = Field(
        None,
        description="Fields to store, comma-separated; context is the passages, * is all; unset means figures only.",
    )
    traffic_redact: str = Field(
        "patterns", description="Redaction of stored text: patterns, and your own module:function, comma-separated."
    )
    traffic_retention_days: float = Field(30.0, gt=0, description="Recorded answers older than this are deleted.")
    feedback_retention_days: float = Field(
        400.0, ge=0, description="Feedback older than this is deleted; 0 keeps it forever."
    )
    loop_dir: Path | None = Field(
        None, description="Folder for the loop's results; unset means loop/ in SLIPWAY_TRAFFIC_DIR."
    )
    loop_preset: Literal["daily", "weekly"] = Field("daily", description="How often live answers are re-evaluated.")
    loop_job_template: str | None = Field(
        None, description="In a cluster: the name of the suspended CronJob that recompiles."
    )
    loop_release: str | None = Field(None, description="In a cluster: the Helm release, for names and commands.")
    loop_chart: str = Field("deploy/helm/slipway", description="The release's chart, for printed commands.")
    judge_metric: str = Field("groundedness", description="What scores live answers: groundedness or module:function.")
    judge_model: str | None = Field(
        None, description="LM that judges, as provider/model; unset means SLIPWAY_LM_MODEL."
    )
    judge_base_url: HttpAddress | None = Field(
        None, description="The judge's endpoint; unset means SLIPWAY_LM_BASE_URL."
    )
    judge_api_key: SecretStr | None = Field(None, description="The judge's API key; unset means SLIPWAY_LM_API_KEY.")
    judge_api_key_file: Path | None = Field(None, description="File with that key; read again when it changes.")
    judge_temperature: float = Field(0.0, ge=0, le=2, description="The judge's sampling temperature.")

    # serving
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port for gRPC; 0 takes a free one.")
    metrics_port: int = Field(
        9090, ge=0, le=65535, description="Port for /ready, /live and /metrics; 0 takes a free one."
    )
    default_deadline_seconds: float = Field(
        60.0, gt=0, description="Deadline of calls that have none; longer deadlines are cut to it."
    )
    max_input_bytes: int = Field(
        256 * 1024, ge=1, le=16 * 1024 * 1024, description="Maximum size of one request's inputs."
    )
    max_concurrent_requests: int = Field(
        1000, ge=1, description="Maximum number of requests that this process handles at once."
    )
    drain_seconds: float = Field(3.0, ge=0, description="Time between reporting NOT_SERVING and refusing new calls.")
    connection_age_seconds: float = Field(
        300.0,
        gt=0,
        description="Connections are closed after this time, so that callers reconnect and new pods get calls.",
    )
    dry_run_seconds: float = Field(
        60.0, gt=0, description="How long a dry run that meets a 429 or an outage is retried."
    )
    reflection: bool = Field(True, description="Offer gRPC server reflection.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity that is logged."
    )
    log_format: Literal["json", "text"] = Field("text", description="json for machines, text for people.")

    cache_dir: Path = Field(
        Path(".slipway/cache"), validation_alias=CACHE_DIR_KEY, description="Folder of the shared cache."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what load_settings passes: it reads the other sources itself, to know each value's origin."""
        return (init_settings,)

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Where each value came from, by environment key; filled by load_settings."""
        return {}


class Row(NamedTuple):
    """One key for `slipway config`."""

    key: str
    value: str
    origin: str
    description: str


def env_key(field: str) -> str:
    """The environment's name of a field."""
    return CACHE_DIR_KEY if field == "cache_dir" else PREFIX + field.upper()


def load_settings(overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read environment, file and `overrides` (by field name; None values are ignored). Raises ConfigInvalid."""
    environ = os.environ if environ is None else environ
    known = {env_key(name): name for name in Settings.model_fields}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = environ.get(FILE_KEY)
    for origin, source in ((f"file {path}", _read_file(path)), ("environment", environ)):
        for key, value in source.items():
            if key in known:
                if value != "":
                    values[key], origins[key] = value, origin
            elif source is not environ or _claims_to_be_ours(key, value):
                raise ConfigInvalid(_unknown(key, origin, list(known)), key=key)
    for name, value in (overrides or {}).items():
        if value is not None:
            values[env_key(name)], origins[env_key(name)] = value, "command line"
    try:
        settings = Settings(**{(known[key] if key != CACHE_DIR_KEY else key): value for key, value in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = env_key(str(first["loc"][0])) if first["loc"][0] != CACHE_DIR_KEY else CACHE_DIR_KEY
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigInvalid(f"{key}: {reason} (from {origins.get(key, 'default')})", key=key) from None
    settings.__dict__["origins"] = origins
    return settings


def rows(settings: Settings) -> list[Row]:
    """Every key with its value (secrets masked), origin and documentation."""
    return [
        Row(
            env_key(name),
            _shown(getattr(settings, name)),
            settings.origins.get(env_key(name), "default"),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _read_file(path: str | None) -> Mapping[str, str]:
    if not path:
        return {}
    try:
        with Path(path).open(encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except FileNotFoundError:
        raise ConfigInvalid(f"{FILE_KEY}: no file at {path}", key=FILE_KEY) from None
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid(f"{FILE_KEY}: {path} cannot be read as text", key=FILE_KEY) from None
    for line in lines:
        if line.error or (line.key is not None and line.value is None):
            raise ConfigInvalid(f"{FILE_KEY}: {path}, line {_number(line.original)}: not KEY=value", key=FILE_KEY)
    return {line.key: line.value or "" for line in lines if line.key is not None}


def _number(original: Original) -> int:
    """The parser counts blank lines above a line as the line's own."""
    return original.line + len(original.string) - len(original.string.lstrip("\n"))


def _claims_to_be_ours(key: str, value: str) -> bool:
    return key.startswith(PREFIX) and key not in (FILE_KEY, TEST_QDRANT_KEY) and not _is_service_link(key, value)


def _is_service_link(key: str, value: str) -> bool:
    """Whether Kubernetes set it. NAME_PORT is tcp://…; a number under such a key is a port of ours, misspelt."""
    is_address = key.endswith("_PORT") and not key.endswith("_SERVICE_PORT")
    return bool(SERVICE_LINK.fullmatch(key)) and ("://" in value or not is_address)


def _unknown(key: str, origin: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else "`slipway config` lists the keys"
    return f"{key}: unknown configuration key (from {origin}); {hint}"
