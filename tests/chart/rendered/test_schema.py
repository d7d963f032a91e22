# SPDX-License-Identifier: Apache-2.0
"""A value that does not fit fails the render with a line that says where it is and what to give instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from charts import CHART, Helm, refusal

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
NO_VALUE = "left out, for there is no such value: "
TEXT = "text; --set-string gives digits as text"
FRACTION = "; --set makes text of a fraction, --set-json does not"

REFUSED = [
    # unknown
    ("nonsense=1", f"at '/nonsense': value must be '{NO_VALUE}the chart has nameOverride, fullnameOverride, "),
    ("replicas=3", f"at '/replicas': value must be '{NO_VALUE}the chart has "),
    ("serving.replicaz=3", f"at '/serving/replicaz': value must be '{NO_VALUE}serving has replicas, grpcPort, "),
    (
        "retrieval.qdrant.host.name=x",
        f"at '/retrieval/qdrant/host': value must be '{NO_VALUE}retrieval.qdrant has url, ",
    ),
    ("variants.stable2.artifact=v1", f"value must be '{NO_VALUE}variants has stable, candidate, shadow, salt'"),
    ("artifacts.v1.sate=x", f"at '/artifacts/v1/sate': value must be '{NO_VALUE}an artifact has name, digest, state, "),
    ("config.SLIPWAY_LM_MAX_TOKEN=3", f"at '/config/SLIPWAY_LM_MAX_TOKEN': value must be '{NO_VALUE}`slipway config`"),
    ("config.SLIPWAY_LM_MODEL=x", "VALUES.md, under config, those that no other value stands for'"),
    ("config.SLIPWAY_LM_API_KEY=x", f"at '/config/SLIPWAY_LM_API_KEY': value must be '{NO_VALUE}"),
    # of another type
    ("serving.replicas=three", "at '/serving/replicas': value must be 'a whole number of 0 or more, or null'"),
    ("image.tag=3", f"at '/image/tag': value must be '{TEXT}'"),
    ("lm.keyless=maybe", "at '/lm/keyless': value must be 'true or false'"),
    ("commonLabels.tier=1", f"at '/commonLabels/tier': value must be '{TEXT}'"),
    ("extraEnv.LEVEL=1", "at '/extraEnv/LEVEL': value must be 'text, or a mapping with valueFrom; "),
    ("traffic.sample=0.1", f"at '/traffic/sample': value must be 'a number from 0 to 1{FRACTION}'"),
    ("variants.candidate.weight=half", "value must be 'basis points: a whole number from 0 to 10000'"),
    ("serving=3", "at '/serving': got number, want object"),
    ("networkPolicy.callers=all", "at '/networkPolicy/callers': got string, want array"),
    # out of bounds
    ("serving.replicas=-1", "at '/serving/replicas': value must be 'a whole number of 0 or more, or null'"),
    ("serving.drainSeconds=-1", f"at '/serving/drainSeconds': value must be 'a number of 0 or more{FRACTION}'"),
    ("lm.rpm=0", f"at '/lm/rpm': value must be 'a number above 0, or null{FRACTION}'"),
    ("serving.grpcPort=80", "at '/serving/grpcPort': value must be 'a whole number from 1024 to 65535'"),
    ("traffic.sample=2", f"at '/traffic/sample': value must be 'a number from 0 to 1{FRACTION}'"),
    ("gate.floor=2", f"at '/gate/floor': value must be 'a number above 0 and below 1, or null{FRACTION}'"),
    (
        "config.SLIPWAY_LM_MAX_TOKENS=0",
        "at '/config/SLIPWAY_LM_MAX_TOKENS': value must be 'a whole number of 1 or more'",
    ),
    (
        "monitoring.rules.alerts.SlipwayErrors.threshold=2",
        f"SlipwayErrors/threshold': value must be 'a number above 0 and at most 1{FRACTION}'",
    ),
    ("variants.salt=", "at '/variants/salt': value must be 'text, not empty; --set-string gives digits as text'"),
    # not one of those there are
    ("lm.pacing=fast", "at '/lm/pacing': value must be one of 'auto', 'fixed', 'priced', 'share', 'off'"),
    ("volume.accessMode=ReadWriteOncePod", "value must be one of 'ReadWriteMany', 'ReadWriteOnce'"),
    ("image.pullPolicy=3", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
    # in another form
    ("image.digest=sha256:abc", "at '/image/digest': value must be 'sha256: and 64 hex digits, or empty'"),
    ("nameOverride=Answers_1", "at '/nameOverride': value must be 'lower-case letters, digits and hyphens, such as "),
    ("program.path=rag", "at '/program/path': value must be 'package.module:Class, such as my_program:Answers'"),
    ("lm.endpoint=api.openai.com", "value must be 'an address that begins with http:// or https://, or empty'"),
    ("volume.size=ten", "at '/volume/size': value must be 'a size as Kubernetes writes it, such as 10Gi'"),
    ("cacheGc.schedule=daily", "value must be 'a cron expression of five fields, such as 17 3 * * *'"),
    ("monitoring.interval=fast", "value must be 'a time as Prometheus writes it, such as 30s'"),
    ("podDisruptionBudget.maxUnavailable=all", "value must be 'a number of pods, or a percentage such as 25%'"),
    # taken out
    ("serving.grpcPort=null", "at '/serving': missing property 'grpcPort'"),
    ("lm=null", "at '': missing property 'lm'"),
]


@pytest.mark.parametrize(("bad", "line"), REFUSED, ids=[bad for bad, _ in REFUSED])
def test_one_line_says_where_and_what_to_do(helm: Helm, bad: str, line: str) -> None:
    about_values = [one for one in refusal(helm, "default", "--set", bad).splitlines() if one.startswith("- ")]
    [said] = about_values
    assert line in said


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every value that has a schema of its own, with the path to it."""
    for name, one in schema["properties"].items():
        if "properties" in one:
            yield from leaves(one, (*path, name))
        else:
            yield (*path, name), one


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every mapping that has named properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for one in schema.values():
            yield from objects(one)


@pytest.mark.parametrize("strange", [-1, -0.5, "strange", "", True, None, [], {}], ids=repr)
def test_no_number_may_be_negative_and_what_is_refused_is_refused_by_one_line(strange: object) -> None:
    guarded = {("variants", "candidate", "weight"), ("variants", "shadow", "weight")}
    for path, schema in leaves(SCHEMA):
        mistakes = list(jsonschema.Draft7Validator(SCHEMA).evolve(schema=schema).iter_errors(strange))
        assert len(mistakes) <= 1, path
        if type(strange) in (int, float) and path not in guarded:
            assert mistakes or path == ("global",), path


def test_every_mapping_is_closed_and_takes_not_even_what_its_message_says() -> None:
    for one in objects(SCHEMA):
        others = one["additionalProperties"]
        for strange in (1, "", None, {}, [], others and others["const"]):
            assert not jsonschema.Draft7Validator(others).is_valid(strange), others


def test_the_defaults_fit() -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(DEFAULTS)


def test_lists_and_mappings_may_be_null_in_a_file(helm: Helm) -> None:
    """`config:` with nothing below it is null in YAML, and takes the default out."""
    empty = [".".join(path) for path, schema in leaves(SCHEMA) if schema.get("type") in ("array", "object")]
    given = [f"{path}=null" for path in [*empty, "config"] if path not in ("artifacts", "global")]
    text = helm.render("default", "--set", ",".join(given))
    assert "<nil>" not in text
    assert "is v1, which is not among `artifacts`" in refusal(helm, "default", "--set", "artifacts=null")
