# SPDX-License-Identifier: Apache-2.0
"""What serves now: the variants and the routing between them, held in one reference that is replaced as a whole.

    slots = Slots((stable, candidate), Routing(candidate_bps=1000))
    variant = slots.choose(key="user-42", pin="")
    slots = slots.with_variant(newer)               # what was there stays warm as `previous`

A request chooses once and keeps what it chose, so no answer mixes two artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from slipway_server.errors import PinUnknown
from slipway_server.runtime.routing import WHOLE_BPS, Routing
from slipway_server.runtime.types import VariantInfo
from slipway_server.runtime.variants import CANDIDATE, SHADOW, STABLE, Variant

MIN_DIGEST_CHARS = 8

ROUTING = "routing"
"""The routing file, among what updates are refused of; no variant has this name."""


@dataclass(frozen=True)
class Slots:
    """Variants by name (stable always), their routing, and why updates were refused."""

    variants: Mapping[str, Variant]
    routing: Routing
    removed: str = ""
    """Why the candidate gets no traffic although it has a weight; empty where it does."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By variant, and for ROUTING; empty texts where nothing was refused."""
    previous: Mapping[str, Variant] = field(default_factory=dict)

    @cached_property
    def stable(self) -> Variant:
        """The variant that everything else is measured against."""
        return self.variants[STABLE]

    @cached_property
    def shadow(self) -> Variant | None:
        """The variant that runs but never answers."""
        return self.variants.get(SHADOW)

    def choose(self, key: str, pin: str) -> Variant:
        """The variant that answers. Raises PinUnknown: a pin never falls back to another variant."""
        if pin:
            return self._pinned(pin)
        candidate = self.variants.get(CANDIDATE)
        if candidate is not None and not self.removed and self.routing.picks_candidate(key):
            return candidate
        return self.stable

    def with_variant(self, variant: Variant) -> Slots:
        """With another variant in its slot; a new candidate starts with a clean record."""
        before = self.variants.get(variant.name)
        previous = {**self.previous, variant.name: before} if before else self.previous
        return replace(
            self,
            variants={**self.variants, variant.name: variant},
            previous=previous,
            refused={**self.refused, variant.name: ""},
            removed="" if variant.name == CANDIDATE else self.removed,
        )

    def with_refusal(self, name: str, reason: str) -> Slots:
        """With the reason why an update of a slot was refused; what serves stays."""
        return replace(self, refused={**self.refused, name: reason})

    def with_routing(self, routing: Routing) -> Slots:
        """With other weights; a refused routing file is forgotten, a removed candidate stays out."""
        return replace(self, routing=routing, refused={**self.refused, ROUTING: ""})

    def removing_candidate(self, reason: str) -> Slots:
        """With the candidate out of the routing; a pin still reaches it."""
        return replace(self, removed=reason)

    def warm(self, name: str, digest: str) -> Variant | None:
        """What served in this slot before, where it has this digest: a rollback needs no building."""
        before = self.previous.get(name)
        return before if before is not None and before.artifact.digest == digest else None

    def infos(self) -> list[VariantInfo]:
        """For ArtifactService, stable first."""
        candidate = 0 if self.removed or CANDIDATE not in self.variants else self.routing.candidate_bps
        weights = {STABLE: WHOLE_BPS - candidate, CANDIDATE: candidate, SHADOW: self.routing.shadow_bps}
        return [
            variant.info(weights[name], self._note(name))
            for name, variant in sorted(
                self.variants.items(), key=lambda item: (STABLE, CANDIDATE, SHADOW).index(item[0])
            )
        ]

    def _note(self, name: str) -> str:
        """Everything that was refused of a slot; the routing file counts as stable's."""
        of_all = {STABLE: self.refused.get(ROUTING, ""), CANDIDATE: self.removed}.get(name, "")
        return "; ".join(filter(None, (of_all, self.refused.get(name, ""))))

    def _pinned(self, pin: str) -> Variant:
        answering = [variant for name, variant in self.variants.items() if name != SHADOW]
        for variant in answering:
            digest = variant.artifact.digest
            if pin in (variant.name, digest) or (len(pin) >= MIN_DIGEST_CHARS and digest.startswith(pin)):
                return variant
        shown = pin[:80]
        raise PinUnknown(f"pin '{shown}' is neither a variant nor the digest of one that is served here", pin=shown)
