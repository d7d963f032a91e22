# SPDX-License-Identifier: Apache-2.0
"""`slipway artifact forecast`: what a new artifact will ask of the provider at the switch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slipway_server.cli.output import JSON_OPTION, print_json
from slipway_server.cli.stages import stages
from slipway_server.cli.values import program_named
from slipway_server.config import Settings, load_settings
from slipway_server.errors import ArtifactRequired, ConfigInvalid, DatasetInvalid
from slipway_server.telemetry import logs

if TYPE_CHECKING:
    from slipway_server.runtime.forecast import Forecast

MOST_QUESTIONS = 100_000


def forecast(
    new: Path = typer.Argument(..., help="The new artifact's file, or a store folder (its current artifact)."),
    questions: Path = typer.Option(..., help="Questions that callers ask (JSON Lines)."),
    rpm: float = typer.Option(..., min=0, max=1e9, help="Questions per minute that callers ask."),
    current: Path | None = typer.Option(None, help="What is served now; default is SLIPWAY_ARTIFACT."),
    program: str | None = typer.Option(None, help="Program that both belong to, package.module:Class."),
    collection: str | None = typer.Option(None, help="Collection to retrieve from."),
    lm_rpm: float | None = typer.Option(None, help="The provider's limit, in requests per minute."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Forecast, before a switch, how much of the cache becomes useless and how many LM calls that will take.

    Every question is looked up under both artifacts, with the shared cache and the collection; the LM is not called.

    Example: slipway artifact forecast new.json --current artifacts/ --questions questions.jsonl --rpm 120 --lm-rpm 500
    """
    overrides = {"artifact": current, "program": program, "collection": collection, "lm_rpm": lm_rpm}
    settings = load_settings(overrides)
    logs.configure(settings.log_level, settings.log_format)
    if settings.artifact is None:
        raise ArtifactRequired("no artifact is served now: name one with --current or SLIPWAY_ARTIFACT")
    forecasted = foresee(settings, settings.artifact, new, questions, rpm, quiet=as_json)
    if as_json:
        print_json(forecasted.values())
    else:
        typer.echo("\n".join(forecasted.lines()))


@dataclass(frozen=True)
class Forecasted:
    """What a switch to the artifact at `path` costs, at `rpm` questions a minute."""

    found: Forecast
    path: Path
    rpm: float
    settings: Settings

    def lines(self) -> list[str]:
        """For a terminal."""
        return _lines(self.found, self.rpm, self.settings, self.path)

    def values(self) -> dict[str, object]:
        """For JSON."""
        return _values(self.found, self.rpm, self.settings)


def foresee(settings: Settings, current: Path, new: Path, questions: Path, rpm: float, *, quiet: bool) -> Forecasted:
    """Run the questions under both artifacts, past the LM. Raises OperatorError where that cannot be."""
    if settings.cache != "on":
        raise ConfigInvalid(f"SLIPWAY_CACHE={settings.cache}: a forecast reads the shared cache", key="SLIPWAY_CACHE")
    from slipway_server.artifacts import Served, load, resolve
    from slipway_server.runtime.fields import InputFields
    from slipway_server.runtime.forecast import forecast as run
    from slipway_server.runtime.prewarm import load_questions
    from slipway_server.runtime.session import open_session

    served = Served.from_settings(settings)
    before, after = (load(resolve(path), program_named(settings.program), served=served) for path in (current, new))
    asked = load_questions(questions, InputFields.of(after.program).names, limit=MOST_QUESTIONS)
    if not asked:
        raise DatasetInvalid(f"{questions}: has no questions")
    with open_session(settings) as session, stages(quiet=quiet, unit="runs") as progress:
        found = run(
            session, before.program, after.program, asked, lambda done, total: progress("forecast", done, total)
        )
    return Forecasted(found, after.path, rpm, settings)


def _lines(found: Forecast, rpm: float, settings: Settings, new: Path) -> list[str]:
    rates = found.calls_per_minute(rpm)
    about = "" if found.after.exact and found.before.exact else "about "
    lines = [
        f"{_percent(found.becomes_cold, found.questions)} of {found.questions:,} questions become cold "
        f"({found.becomes_cold:,}; {found.cold:,} need the LM under the new artifact)",
        f"{about}{rates.after - rates.before:+,.1f} LM calls/min at {rpm:g} questions/min: "
        f"{rates.after:,.1f} instead of {rates.before:,.1f}",
        "the provider's limit is not known (--lm-rpm)"
        if settings.lm_rpm is None
        else f"{100 * rates.after / settings.lm_rpm:.1f} % of the limit of {settings.lm_rpm:g} requests/min",
    ]
    if found.skipped:
        lines.append(f"{found.skipped:,} lines were left out: no questions to this program, or it fails on them")
    if found.after.calls:
        lines.append(
            f"it lasts until each question came once, {found.after.calls:,} calls; "
            f"`slipway cache warm --artifact {new} --questions …` makes them beforehand"
        )
    return lines


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _values(found: Forecast, rpm: float, settings: Settings) -> dict[str, object]:
    rates = found.calls_per_minute(rpm)
    return {
        "questions": found.questions,
        "skipped": found.skipped,
        "becomes_cold": found.becomes_cold,
        "cold": found.cold,
        "rpm": rpm,
        "calls_per_minute": {"before": rates.before, "after": rates.after},
        "calls": found.after.calls,
        "exact": found.before.exact and found.after.exact,
        "limit": settings.lm_rpm,
        "share_of_limit": None if settings.lm_rpm is None else rates.after / settings.lm_rpm,
    }
