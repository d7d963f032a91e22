# SPDX-License-Identifier: Apache-2.0
"""All configuration: one frozen object, the same keys in the environment, in a file and in the chart.

    settings = load_settings(overrides={"lm_model": "openai/gpt-4o-mini"})

Order of precedence: command-line options, environment, file (`SLIPWAY_CONFIG_FILE`, KEY=value lines), defaults. The set
is closed: an unknown SLIPWAY_… key, any unknown key or line of the file, or a wrong value raises ConfigInvalid, which
names it. Rooms take their own small
frozen config objects, made from these settings.
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
    if parts.scheme not in ("http", "https") or not parts.hostname:
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
    artifact: Path | None = Field(None, description="Artifact file, or a store folder whose current artifact is meant.")
    artifact_digest: str | None = Field(None, description="Digest that the artifact must have.")
    artifact_public_key: str | None = Field(
        None, description="Ed25519 public key, PEM or its base64: artifacts must be signed by it."
    )
    artifact_public_key_file: Path | None = Field(None, description="File with that key, PEM; may hold several.")
    artifact_max_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Artifacts must be smaller, manifest included. A ConfigMap holds the default; a volume holds more.",
    )
    code_revision: str | None = Field(None, description="Git commit of the running code, where there is no repository.")
    allow_uncompiled: bool = Field(False, description="Serve the program as it is where no artifact is named.")
    candidate_artifact: Path | None = Field(None, description="Artifact of the variant candidate.")
    candidate_artifact_digest: str | None = Field(None, description="Digest that the candidate must have.")
    candidate_weight_bps: int = Field(0, ge=0, le=10_000, description="The candidate's share of keys, in basis points.")
    candidate_error_margin: float = Field(
        0.05, gt=0, lt=1, description="A candidate that fails more often than stable by this share is taken out."
    )
    candidate_latency_ratio: float = Field(
        2.0, gt=1, description="A candidate that is slower than stable by this factor is taken out."
    )
    shadow_artifact: Path | None = Field(None, description="Artifact of the variant shadow, which never answers.")
    shadow_artifact_digest: str | None = Field(None, description="Digest that the shadow must have.")
    shadow_weight_bps: int = Field(
        0, ge=0, le=10_000, description="Share of requests the shadow runs, in basis points."
    )
    routing_dir: Path | None = Field(None, description="Folder with routing.json, watched; it overrides the weights.")
    routing_salt: str = Field("slipway", description="Other salts put other keys with the candidate.")
    hot_reload: bool = Field(False, description="Swap a variant when its artifact or store's current one changes.")
    watch_seconds: float = Field(5.0, gt=0, description="Time between looks at watched folders.")
    prewarm_file: Path | None = Field(None, description="Questions (jsonl) run before an artifact says ready.")
    prewarm_limit: int = Field(100, ge=1, description="The first so many questions of that file.")
    prewarm_seconds: float = Field(60.0, gt=0, description="Readiness does not wait longer for them.")
    callbacks: str | None = Field(None, description="DSPy callbacks to add, module:Class, comma-separated.")
    sync_workers: int = Field(32, ge=1, description="Threads for programs that have only forward().")

    # retrieval
    collection: str = Field("docs", min_length=1, description="Collection to retrieve from.")
    retrieval_k: int = Field(3, ge=1, le=100, description="Passages per query.")
    data_dir: Path = Field(Path(".slipway/data"), description="Folder of embedded collections.")
    scratch_dir: Path | None = Field(
        None, description="Folder for this process's own copies; the system's default if unset."
    )
    qdrant_url: str | None = Field(None, description="Qdrant server or cluster; unset means embedded.")
    qdrant_api_key: SecretStr | None = Field(None, description="Key of the Qdrant server.")
    qdrant_grpc_port: int = Field(6334, ge=1, le=65535, description="The Qdrant server's gRPC port.")
    embedding_model: str = Field(
        OFFLINE_EMBEDDER, description="Embedder: offline/… is built in, else the endpoint's model name."
    )
    embedding_base_url: HttpAddress | None = Field(
        None, description="OpenAI-compatible endpoint for embeddings, ending in /v1."
    )
    embedding_api_key: SecretStr | None = Field(None, description="Key of the embedding endpoint.")
    embedding_api_key_file: Path | None = Field(None, description="File with that key, read again when it changes.")
    embedding_dimension: int = Field(1024, ge=1, le=65536, description="Dimension of the vectors.")
    embedding_timeout_seconds: float = Field(30.0, gt=0, description="Limit of one embedding request.")

    # the LM
    lm_model: str = Field(
        OFFLINE_MODEL, description="LM, as provider/model; offline/extractive is the built-in reader, which is no LM."
    )
    lm_base_url: HttpAddress | None = Field(
        None, description="OpenAI-compatible endpoint, ending in /v1; unset means the provider's own."
    )
    lm_api_key: SecretStr | None = Field(None, description="The provider's key.")
    lm_api_key_file: Path | None = Field(None, description="File with that key, read again when it changes.")
    lm_temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    lm_max_tokens: int = Field(1000, ge=1, description="Limit of one completion, in tokens.")
    lm_rpm: float | None = Field(
        None, gt=0, description="Requests per minute that the key may make; shared by all pods."
    )
    lm_tpm: float | None = Field(None, gt=0, description="Tokens per minute that the key may use; shared by all pods.")
    lm_max_concurrency: int = Field(64, ge=1, description="LM calls of this process in flight.")
    lm_pacing: Literal["auto", "fixed", "priced", "share", "off"] = Field(
        "auto", description="How the provider's quota is shared."
    )
    lm_burst_seconds: float = Field(60.0, gt=0, description="Size of the provider's bucket, in seconds of its limit.")
    lm_peers_dns: str | None = Field(None, description="Headless service name; its address records are the live pods.")
    lm_replicas: int = Field(1, ge=1, description="Pods that share the key, where lm_peers_dns is unset.")
    lm_max_attempts: int = Field(5, ge=1, le=20, description="Attempts per LM call, the first one included.")
    lm_attempt_timeout_seconds: float = Field(120.0, gt=0, description="Limit of one attempt.")
    lm_retry_after_cap_seconds: float = Field(30.0, gt=0, description="A longer Retry-After is not waited for.")
    lm_queue_cap_seconds: float = Field(
        10.0, gt=0, description="An interactive call that would wait longer is refused."
    )
    lm_prices: str | None = Field(None, description="US dollars per million tokens, prompt:completion, e.g. 0.15:0.60.")

    # the cache
    cache: Literal["on", "memory", "off"] = Field("on", description="Shared volume and memory, memory only, or none.")
    cache_namespace: str = Field("default", min_length=1, description="Entries of different namespaces never meet.")
    cache_memory_bytes: int = Field(256 * 1024 * 1024, ge=0, description="Size of the memory tier.")
    cache_ttl_seconds: float | None = Field(
        None, gt=0, description="Age at which an entry is no longer used; unset means never."
    )
    cache_timeout_seconds: float = Field(0.5, gt=0, description="A slower volume counts as a miss.")
    cache_fsync: bool = Field(False, description="Write entries through to the disk before they are seen.")
    cache_lease_seconds: float = Field(10.0, gt=0, description="A lease without heartbeat for so long is taken over.")
    cache_answers: bool = Field(
        False, description="Remember whole answers, by artifact, inputs and collection version."
    )

    # recorded traffic and the loop
    traffic_dir: Path | None = Field(None, description="Folder for recorded answers and feedback; unset records none.")
    traffic_sample: float = Field(0.05, ge=0, le=1, description="Share of requests to record, by hash of their id.")
    traffic_fields: str | None = Field(
        None, description="Fields to store, comma-separated, also context; * is all, unset none: figures only."
    )
    traffic_redact: str = Field("patterns", description="Redaction: patterns and module:function, comma-separated.")
    traffic_retention_days: float = Field(30.0, gt=0, description="Recorded answers older than this are deleted.")
    feedback_retention_days: float = Field(400.0, ge=0, description="Older feedback is deleted; 0 keeps it for ever.")
    loop_dir: Path | None = Field(None, description="Folder of the loop's results; unset means traffic_dir/loop.")
    loop_preset: Literal["daily", "weekly"] = Field("daily", description="How often live answers are re-evaluated.")
    loop_job_template: str | None = Field(None, description="In a cluster: the suspended CronJob that recompiles.")
    loop_release: str | None = Field(None, description="In a cluster: the Helm release, for names and commands.")
    loop_chart: str = Field("deploy/helm/slipway", description="The release's chart, for printed commands.")
    judge_metric: str = Field("groundedness", description="Scores live answers: groundedness or module:function.")
    judge_model: str | None = Field(None, description="LM that judges, as provider/model; unset means lm_model.")
    judge_base_url: HttpAddress | None = Field(None, description="The judge's endpoint; unset means lm_base_url.")
    judge_api_key: SecretStr | None = Field(None, description="The judge's key; unset means lm_api_key.")
    judge_api_key_file: Path | None = Field(None, description="File with that key, read again when it changes.")
    judge_temperature: float = Field(0.0, ge=0, le=2, description="The judge's sampling temperature.")

    # serving
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port of gRPC; 0 takes a free one.")
    metrics_port: int = Field(
        9090, ge=0, le=65535, description="Port of /ready, /live and /metrics; 0 takes a free one."
    )
    default_deadline_seconds: float = Field(
        60.0, gt=0, description="Deadline of a call that has none; longer ones are cut to it."
    )
    max_input_bytes: int = Field(256 * 1024, ge=1, le=16 * 1024 * 1024, description="Limit of one request's inputs.")
    max_concurrent_requests: int = Field(1000, ge=1, description="Requests of this process under way.")
    drain_seconds: float = Field(3.0, ge=0, description="Time between NOT_SERVING and refusing new calls.")
    connection_age_seconds: float = Field(
        300.0, gt=0, description="Connections are renewed after this long, so that new pods get calls."
    )
    dry_run_seconds: float = Field(
        60.0, gt=0, description="A dry run that meets a 429 or an outage is retried so long."
    )
    reflection: bool = Field(True, description="Offer gRPC server reflection.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
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
            elif source is not environ or _claims_to_be_ours(key):
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


def _claims_to_be_ours(key: str) -> bool:
    return key.startswith(PREFIX) and key not in (FILE_KEY, TEST_QDRANT_KEY) and not SERVICE_LINK.fullmatch(key)


def _unknown(key: str, origin: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else "`slipway config` lists the keys"
    return f"{key}: unknown configuration key (from {origin}); {hint}"
