# SPDX-License-Identifier: Apache-2.0
"""Which artifacts a release serves, read from the values that Helm keeps of it.

state = State.of(helm.values())
state.stable.key, state.stable.digest          # "v1", "03aa…"
state.candidate, state.weight_bps              # None, 0
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_server.artifacts import manifest_path
from slipway_server.errors import ConfigInvalid

FOREIGN = "the release has no stable artifact in its values: it is none of this chart's"


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of a release that was live. `current`: it is now."""

    number: int
    current: bool


@dataclass(frozen=True, slots=True)
class Given:
    """One of the artifacts of a release. `values`: the chart's values of it; `digest`: empty where they name none."""

    key: str
    digest: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, key: str, values: Mapping[str, Any]) -> Given:
        """As the chart reads them: a digest of its own, or that of the manifest."""
        digest = values.get("digest") or ""
        if not digest and values.get("manifest"):
            digest = str(json.loads(values["manifest"]).get("digest", ""))
        return cls(key, digest, values)

    def write(self, folder: Path) -> Path | None:
        """Its two files in a folder; None where the values only say where they are."""
        values = self.values
        if values.get("state"):
            state = values["state"].encode()
        elif values.get("stateGz"):
            state = gzip.decompress(base64.b64decode(values["stateGz"]))
        else:
            return None
        path = folder / f"{values.get('name') or self.key}.json"
        path.write_bytes(state)
        manifest_path(path).write_text(values["manifest"], encoding="utf-8")
        return path


@dataclass(frozen=True, slots=True)
class State:
    """The variants of a release, and everything that was given to it."""

    artifacts: Mapping[str, Given]
    stable: Given | None
    candidate: Given | None
    weight_bps: int
    values: Mapping[str, Any]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> State:
        """From `helm get values`. Raises ConfigInvalid where they are those of another chart."""
        try:
            return cls._read(values)
        except (AttributeError, TypeError, ValueError):
            raise ConfigInvalid(FOREIGN) from None

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> State:
        given = {key: Given.of(key, one) for key, one in (values.get("artifacts") or {}).items() if one}
        variants = values.get("variants") or {}

        def variant(name: str) -> Given | None:
            return given.get((variants.get(name) or {}).get("artifact") or "")

        weight = int((variants.get("candidate") or {}).get("weight") or 0)
        return cls(given, variant("stable"), variant("candidate"), weight, values)

    @property
    def used(self) -> set[str]:
        """Keys of the artifacts that a variant serves."""
        named = (one.get("artifact") for one in (self.values.get("variants") or {}).values() if isinstance(one, dict))
        return {key for key in named if key}

    def required_stable(self) -> Given:
        """The stable artifact. Raises ConfigInvalid where the values name none: this is no release of the chart."""
        if self.stable is None:
            raise ConfigInvalid(FOREIGN)
        return self.stable

    def required_candidate(self) -> Given:
        """The candidate. Raises ConfigInvalid where there is none."""
        if self.candidate is None:
            raise ConfigInvalid("the release has no candidate: `slipway release ship` makes an artifact one")
        return self.candidate

    def settings(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What the release says to the server of program, LM and retrieval: overrides, and keys of `config`."""
        values = self.values
        named = {
            "program": (values.get("program") or {}).get("path"),
            "lm_model": (values.get("lm") or {}).get("model"),
            "lm_rpm": (values.get("lm") or {}).get("rpm"),
            "retrieval_k": (values.get("retrieval") or {}).get("k"),
            "collection": (values.get("retrieval") or {}).get("collection"),
        }
        config = {
            key: text(value)
            for key, value in (values.get("config") or {}).items()
            if value is not None and not key.endswith(("_FILE", "_DIR"))
        }
        return {key: value for key, value in named.items() if value is not None}, config


def text(value: Any) -> str:
    """A value as the chart writes it into an environment variable: Helm keeps numbers as floats."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    """Dotted paths of the values that differ."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        one, other, at = before.get(key), after.get(key), f"{path}{key}"
        if isinstance(one, dict) and isinstance(other, dict):
            found += changed_values(one, other, f"{at}.")
        elif one != other:
            found.append(at)
    return found
