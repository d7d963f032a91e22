# SPDX-License-Identifier: Apache-2.0
"""Makes the chart's values.schema.json and VALUES.md from the comments in its values.yaml.

    scripts/chart.py generate
    scripts/chart.py verify        # fails where they are stale

A value is documented by the lines `# -- …` directly above it. `# @schema {…}`, a YAML flow mapping, is merged into what
its default says about its type; `says` is what Helm prints where a value does not fit, for what keywords do not tell.
Objects are closed unless their annotation says otherwise. `setting: NAME` takes type and bounds of that setting of the
server; `settings: true` is every setting that no value of the chart stands for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from chart_schema import Schema, closed, fitting

from slipway_server.config import CACHE_DIR_KEY, Settings, env_key

CHART = Path(__file__).parents[1] / "deploy/helm/slipway"

OWNED = {
    *("program", "artifact", "artifact_digest", "allow_uncompiled", "candidate_artifact", "candidate_artifact_digest"),
    *("candidate_weight_bps", "shadow_artifact", "shadow_artifact_digest", "shadow_weight_bps", "routing_dir"),
    *("routing_salt", "hot_reload", "collection", "retrieval_k", "data_dir", "scratch_dir", "qdrant_url"),
    *("qdrant_api_key", "qdrant_grpc_port", "embedding_model", "embedding_base_url", "embedding_api_key"),
    *("embedding_api_key_file", "embedding_dimension", "lm_model", "lm_base_url", "lm_api_key", "lm_api_key_file"),
    *("lm_rpm", "lm_tpm", "lm_pacing", "lm_peers_dns", "lm_replicas", "traffic_dir", "traffic_sample"),
    *("traffic_fields", "traffic_retention_days", "host", "grpc_port", "metrics_port", "default_deadline_seconds"),
    *("max_concurrent_requests", "drain_seconds", "connection_age_seconds", "reflection", "log_level", "log_format"),
    *("judge_metric", "judge_model", "judge_base_url", "judge_api_key", "judge_api_key_file", "cache_dir"),
    *("loop_dir", "loop_preset", "loop_job_template", "loop_release", "loop_chart"),
}
"""Settings that values stand for, that only a Secret may hold, or that a cluster has no use for."""

KNOWN: dict[str, Any] = Settings.model_json_schema(by_alias=False)["properties"]
"""The server's settings, as JSON schemas."""

DOCS_HEAD = """The chart rejects values that are not listed here, and null unless the description allows it; a list or
mapping that is null counts as empty. Helm's `--set` turns fractions into text: use `--set-json traffic.sample=0.1`."""

DRAFT = "http://json-schema.org/draft-07/schema#"
NO_SETTING = (
    "`slipway config` shows the keys there are, and VALUES.md, under config, those that no other value stands for"
)
TEXT: Schema = {"type": "string"}
ARTIFACT: dict[str, Schema] = {
    "name": {
        "type": "string",
        "pattern": "^[A-Za-z0-9][-._A-Za-z0-9]*$",
        "says": "a file name without .json: letters, digits, dots, hyphens and underscores",
        "description": "File name without .json, as receipts show it. If not given, the artifact's key.",
    },
    "digest": {
        "type": "string",
        "pattern": "^([0-9a-f]{64})?$",
        "says": "the 64 hex digits that `slipway artifact show` prints as the digest; --set-string keeps them text",
        "description": "Content digest that pods check. If `manifest` is given, taken from there.",
    },
    "state": TEXT | {"description": "The artifact's .json file; use --set-file."},
    "stateGz": TEXT | {"description": "The same, gzipped and in base64, instead of `state`."},
    "manifest": TEXT | {"description": "Its .meta.json file; use --set-file."},
    "existingConfigMap": TEXT | {"description": "ConfigMap of yours with `name`.json and `name`.meta.json."},
    "gzipped": {"type": "boolean", "description": "That ConfigMap has `name`.json.gz instead of `name`.json."},
    "path": TEXT | {"description": "Path of the .json or .json.gz file on the volume."},
}
"""What is given of an artifact."""


@dataclass(frozen=True)
class Value:
    """One key of values.yaml: where it is, what it is by default, and what its comments say."""

    path: tuple[str, ...]
    node: yaml.Node
    text: str
    schema: dict[str, Any]

    @property
    def default(self) -> Any:
        return yaml.safe_load(yaml.serialize(self.node))

    @property
    def branch(self) -> bool:
        """Whether it has values of its own below it, rather than being one."""
        return isinstance(self.node, yaml.MappingNode) and bool(self.node.value) and not self.text


def values() -> list[Value]:
    """Every key of values.yaml, outer ones first."""
    source = (CHART / "values.yaml").read_text(encoding="utf-8")
    lines = source.splitlines()
    root = yaml.compose(source)
    assert isinstance(root, yaml.MappingNode)
    return list(_below((), root, lines))


def _below(path: tuple[str, ...], node: yaml.MappingNode, lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        text, schema = _comments(lines, key.start_mark.line)
        value = Value((*path, key.value), child, text, schema)
        yield value
        if value.branch:
            yield from _below(value.path, child, lines)
        elif not text:
            raise SystemExit(f"values.yaml: {'.'.join(value.path)} has no comment '# -- …' above it")


def _comments(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    above: list[str] = []
    while line and (found := re.fullmatch(r"\s*# (.+)", lines[line - 1])):
        above.insert(0, found[1])
        line -= 1
    schema: dict[str, Any] = {}
    words: list[str] = []
    for comment in above:
        if comment.startswith("@schema "):
            schema |= yaml.safe_load(comment.removeprefix("@schema "))
        elif comment.startswith("-- "):
            words = [comment.removeprefix("-- ")]
        elif words:
            words.append(comment)
    return " ".join(words), schema


def schema_text() -> str:
    """values.schema.json."""
    root = _object(())
    root["properties"]["global"] = {"type": "object", "description": "Values that a parent chart shares."}
    given = {name: fitting(one) for name, one in ARTIFACT.items()}
    artifact = closed(given, "an artifact") | {"type": ["object", "null"]}
    return _written({"$schema": DRAFT, "definitions": {"artifact": artifact}, **root}) + "\n"


def _written(schema: Schema, indent: str = "\n") -> str:
    """As JSON, with a line for each value rather than for each word."""
    deeper = indent + "  "
    lines = []
    for key, one in schema.items():
        nested = isinstance(one, dict) and (key in ("properties", "definitions") or "properties" in one)
        lines.append(f"{json.dumps(key)}: {_written(one, deeper) if nested else json.dumps(one, ensure_ascii=False)}")
    return "{" + deeper + ("," + deeper).join(lines) + indent + "}"


def _object(path: tuple[str, ...]) -> Schema:
    """The schema of a branch, or of all values."""
    below = [value for value in values() if value.path[:-1] == path]
    properties = {value.path[-1]: _object(value.path) if value.branch else _schema(value) for value in below}
    needed = [value.path[-1] for value in below if value.branch or not _may_go(value)]
    return closed(properties, ".".join(path) or "the chart", required=needed)


def _may_go(value: Value) -> bool:
    """Whether null, by which Helm takes a default out, is a value here. A list or mapping is empty then."""
    return isinstance(value.default, (list, dict, type(None))) or "null" in value.schema.get("type", ())


def _schema(value: Value) -> Schema:
    extra = dict(value.schema)
    if extra.pop("settings", False):
        known = {name: fitting(one) for name, one in settings().items()}
        return closed(known, "config", instead=NO_SETTING) | {"description": value.text}
    if name := extra.pop("setting", None):
        extra = {**_setting(KNOWN[name]), **extra}
        if value.default is None:
            extra["type"] = [extra["type"], "null"]
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    kind = {} if "type" in extra or value.default is None else {"type": kinds[type(value.default)]}
    where = f"values.yaml: {'.'.join(value.path)}"
    if kind.get("type") == "object" and "additionalProperties" not in extra:
        raise SystemExit(f"{where} does not say what it may hold (additionalProperties)")
    try:
        return fitting({**kind, **extra, "description": value.text})
    except ValueError as reason:
        raise SystemExit(f"{where}: {reason}") from None


def settings() -> dict[str, Any]:
    """The configuration keys that no value of the chart stands for, with their types and bounds."""
    unknown = OWNED - set(Settings.model_fields)
    if unknown:
        raise SystemExit(f"scripts/chart.py: {sorted(unknown)} are no settings")
    return {
        env_key(name): _setting(KNOWN[name]) for name in KNOWN if name not in OWNED and env_key(name) != CACHE_DIR_KEY
    }


def _setting(known: dict[str, Any]) -> dict[str, Any]:
    kept = {key: known[key] for key in known if key not in ("default", "title", "format", "anyOf")}
    for choice in known.get("anyOf", ()):
        if choice["type"] != "null":
            kept |= {key: choice[key] for key in choice if key not in ("title", "format", "writeOnly")}
    return kept


def docs_text() -> str:
    """VALUES.md."""
    parts = ["<!-- Generated from values.yaml by `make generate`; change it there. -->", "", "# Values", ""]
    parts += [DOCS_HEAD, "", "| value | default | meaning |", "| --- | --- | --- |"]
    for value in values():
        if not value.branch:
            default = json.dumps(value.default).replace("|", "\\|")
            parts.append(f"| `{'.'.join(value.path)}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    parts += ["", "## artifacts.NAME", "", "| value | meaning |", "| --- | --- |"]
    parts += [f"| `{name}` | {schema['description']} |" for name, schema in ARTIFACT.items()]
    parts += ["", "## config", "", "| value | meaning |", "| --- | --- |"]
    parts += [f"| `config.{name}` | {schema['description']} |" for name, schema in settings().items()]
    return "\n".join(parts) + "\n"


def main(action: str) -> int:
    stale = 0
    for name, text in (("values.schema.json", schema_text()), ("VALUES.md", docs_text())):
        path = CHART / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if action == "generate":
            path.write_text(text, encoding="utf-8")
        else:
            print(f"{name} is not what values.yaml gives: run 'make generate'", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "generate"))
