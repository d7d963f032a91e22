# SPDX-License-Identifier: Apache-2.0
"""The steps of a release: an artifact as candidate, another share, all of it, and back. Each is one command of Helm.

plan = ship(state, path, weight_bps=1000)
plan.note                                     # in words
plan.words(helm)                              # ["helm", "upgrade", …]
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slipway_server.artifacts import manifest_path
from slipway_server.artifacts.files import read_pair
from slipway_server.artifacts.manifest import name_of
from slipway_server.errors import ConfigInvalid
from slipway_server.release.helm import Helm
from slipway_server.release.state import Given, State, changed_values

PACKED_FROM_BYTES = 100_000
"""Larger artifacts go gzipped into the release, which Helm keeps in one Secret of 1 MiB."""

KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
FILE_NAME = re.compile(r"[A-Za-z0-9][-._A-Za-z0-9]*")


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact's content, gzipped, in base64, for a file at `path`. `command`: a shell's words that write it."""

    path: Path
    content: bytes
    command: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One change of a release. `options` of `helm upgrade`, or the `revision` to go back to."""

    action: str
    note: str
    options: Sequence[str] = ()
    revision: int | None = None
    packed: Packed | None = None
    hooks: bool = True
    wait: bool = True

    def words(self, helm: Helm) -> list[str]:
        """The command."""
        if self.revision is not None:
            return helm.rollback(self.revision)
        return helm.upgrade(self.options, hooks=self.hooks, wait=self.wait)

    def packed_into(self, path: Path) -> Plan:
        """The plan with its packed artifact, where it has one, written to `path` and taken from there."""
        if self.packed is None:
            return self
        path.write_bytes(self.packed.content)
        before, after = (f"={_escaped(file)}" for file in (self.packed.path, path))
        return replace(self, options=[word.replace(before, after) for word in self.options])


def ship(
    state: State, artifact: Path, *, weight_bps: int, key: str = "", floor: float | None = None, keep: bool = False
) -> Plan:
    """Give a release an artifact, verified already, as candidate for a share of the routing keys.

    `key`: its name in the values; from the digest if empty. `keep`: also artifacts that no variant serves, which are
    taken out otherwise: pods of the upgrade that stopped serving them are gone. Raises ConfigInvalid.
    """
    manifest = json.loads(read_pair(artifact).manifest)
    digest = str(manifest["digest"])
    if digest == state.required_stable().digest:
        raise ConfigInvalid(f"{artifact.name} is what stable serves already")
    there = next((one.key for one in state.artifacts.values() if one.digest == digest), "")
    key = there or key or f"c{digest[:8]}"
    _check(key, state, there)
    options, packed = ([], None) if there else _given(key, artifact)
    unused = [] if keep else sorted(set(state.artifacts) - state.used - {key})
    options += [word for one in unused for word in ("--set", f"artifacts.{one}=null")]
    options += ["--set-string", f"variants.candidate.artifact={key}"]
    options += ["--set", f"variants.candidate.weight={weight_bps}"]
    options += [] if floor is None else ["--set-json", f"gate.floor={floor}"]
    note = f"{key} ({digest[:12]}) as candidate for {percent(weight_bps)}"
    return Plan(
        "ship", note + (f"; {', '.join(unused)}, unused, out of the release" if unused else ""), options, packed=packed
    )


def _check(key: str, state: State, there: str) -> None:
    if not KEY.fullmatch(key):
        raise ConfigInvalid(f"--name {key}: lower-case letters, digits and hyphens, at most 40")
    if not there and key in state.artifacts:
        raise ConfigInvalid(f"--name {key}: the release has another artifact of that name; choose a new one")


def _given(key: str, artifact: Path) -> tuple[list[str], Packed | None]:
    pair, zipped = read_pair(artifact), artifact.name.endswith(".gz")
    files = {"state": artifact, "manifest": manifest_path(artifact)}
    packed = None
    if zipped or len(pair.state) > PACKED_FROM_BYTES:
        content = base64.b64encode(gzip.compress(pair.state, mtime=0))
        path = artifact.with_name(f"{name_of(artifact)}.json.gz.b64")
        source, target = shlex.quote(str(artifact)), shlex.quote(str(path))
        command = f"base64 {source} > {target}" if zipped else f"gzip -nc {source} | base64 > {target}"
        packed = Packed(path, content, command)
        files = {"stateGz": path, "manifest": files["manifest"]}
    options = [
        word for name, path in files.items() for word in ("--set-file", f"artifacts.{key}.{name}={_escaped(path)}")
    ]
    if FILE_NAME.fullmatch(name_of(artifact)):
        options += ["--set-string", f"artifacts.{key}.name={name_of(artifact)}"]
    return options, packed


def _escaped(path: Path) -> str:
    """Commas separate settings of one --set-file."""
    return str(path).replace("\\", "\\\\").replace(",", "\\,")


def share(state: State, weight_bps: int) -> Plan:
    """Another share for the candidate. No pod restarts; all follow within 90 s. Raises ConfigInvalid."""
    candidate = state.required_candidate()
    options = ["--set", f"variants.candidate.weight={weight_bps}"]
    return Plan("share", f"{candidate.key} for {percent(weight_bps)}", options, hooks=False, wait=False)


def promote(state: State) -> Plan:
    """The candidate as stable. Raises ConfigInvalid."""
    candidate = state.required_candidate()
    names = f"variants.stable.artifact={candidate.key},variants.candidate.artifact="
    options = ["--set-string", names, "--set", "variants.candidate.weight=0"]
    return Plan("promote", f"{candidate.key} ({candidate.digest[:12]}) as stable", options)


def stop(state: State) -> Plan:
    """The candidate gets nothing more. No pod restarts. Raises ConfigInvalid."""
    plan = share(state, 0)
    return Plan("stop", f"{state.required_candidate().key} gets nothing more", plan.options, hooks=False, wait=False)


def rollback(helm: Helm, state: State) -> Plan:
    """Back to the newest revision that served another stable artifact, and not this one as candidate; to the live one
    where an upgrade after it failed. Raises ConfigInvalid where there is none."""
    stable = state.required_stable()
    live, newest = helm.live(), helm.newest()
    if newest != live:
        note = f"revision {newest} did not succeed: all of revision {live} again, {stable.key} ({stable.digest[:12]})"
        return Plan("rollback", f"{note} as stable", revision=live)
    for revision in helm.history():
        before = helm.state(revision.number)
        if revision.current or before.stable is None or _same(before.stable, stable):
            continue
        if before.candidate is not None and before.weight_bps and _same(before.candidate, stable):
            continue
        rest = _without_artifacts(changed_values(before.values, state.values))
        back = f"revision {revision.number}: {before.stable.key} ({before.stable.digest[:12]}) as stable"
        also = f"; these values go back, too: {', '.join(rest)}" if rest else ""
        return Plan("rollback", back + also, revision=revision.number)
    raise ConfigInvalid("no earlier revision of the release served another artifact")


def _same(one: Given, other: Given) -> bool:
    return one.digest == other.digest if one.digest and other.digest else one.key == other.key


def _without_artifacts(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path.partition(".")[0] not in ("artifacts", "variants", "gate")]


def weight_of(share_percent: float) -> int:
    """Basis points. Raises ConfigInvalid unless 0 < share ≤ 100."""
    if not 0 < share_percent <= 100:
        raise ConfigInvalid(f"--percent {share_percent:g}: must be above 0, and 100 at most")
    return max(1, round(100 * share_percent))


def percent(weight_bps: int) -> str:
    """10 %."""
    return f"{weight_bps / 100:g} %"
