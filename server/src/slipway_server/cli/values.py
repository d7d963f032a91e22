# SPDX-License-Identifier: Apache-2.0
"""What several commands make of their options: moments, shares, programs, the artifact that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid

if TYPE_CHECKING:
    from slipway_server.artifacts import LoadedArtifact


def moment(option: str, text: str) -> float:
    """A day or a moment, UTC unless it says otherwise, in seconds since 1970. Raises ConfigInvalid with the option."""
    try:
        found = datetime.fromisoformat(text)
        return (found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigInvalid(f"{option} {text}: write 2026-11-20 or 2026-11-20T08:00") from None


def check_share(option: str, value: float | None) -> None:
    """Raise ConfigInvalid where `value` is not between 0 and 1; None is no value."""
    if value is not None and not 0 < value < 1:
        raise ConfigInvalid(f"{option} {value:g}: must be between 0 and 1, both exclusive")


def program_named(path: str) -> Callable[[], Any]:
    """Makes fresh programs of the class at `package.module:Class`. Raises ProgramInvalid, now and when it is called."""
    from functools import partial

    from slipway_server.runtime.imports import import_program
    from slipway_server.runtime.variants import new_program

    return partial(new_program, import_program(path))


def loaded_artifact(settings: Settings) -> LoadedArtifact | None:
    """The artifact that the settings name, verified and in a fresh program; None where they name none.

    Raises ArtifactMissing, ArtifactInvalid, ArtifactForeign, ProgramInvalid.
    """
    from slipway_server.artifacts import Served, load, resolve

    if settings.artifact is None:
        return None
    fresh = program_named(settings.program)
    served = Served.from_settings(settings)
    return load(resolve(settings.artifact), fresh, digest=settings.artifact_digest, served=served)
