# SPDX-License-Identifier: Apache-2.0
"""Which variant answers: a stable hash of the routing key, so that every pod and every restart decides the same.

    routing = Routing(salt="slipway", candidate_bps=1000)
    routing.picks_candidate("user-42")        # the same for ever, for 10 % of all keys

The hash is blake2b (RFC 7693) over salt and key; Python's own hash() differs from process to process. Weights are in
basis points. A key that is with the candidate at one weight stays with it at every higher one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slipway_server.config import Settings
from slipway_server.errors import ConfigInvalid

WHOLE_BPS = 10_000


@dataclass(frozen=True, slots=True)
class Routing:
    """Shares of the traffic, in basis points: `candidate_bps` of the keys, `shadow_bps` of the requests."""

    salt: str = "slipway"
    candidate_bps: int = 0
    shadow_bps: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Routing:
        """The shares that hold until a routing file says otherwise."""
        return cls(settings.routing_salt, settings.candidate_weight_bps, settings.shadow_weight_bps)

    def picks_candidate(self, key: str) -> bool:
        """Whether requests with this routing key go to the candidate."""
        return bucket(self.salt, key) < self.candidate_bps

    def samples_shadow(self, request_id: str) -> bool:
        """Whether this request is also run by the shadow."""
        return bucket(f"{self.salt}/shadow", request_id) < self.shadow_bps

    def updated(self, content: bytes) -> Routing:
        """These shares with what a routing file says. Raises ConfigInvalid for anything but the documented JSON.

        The file is `{"candidate": 1000, "shadow": 500}`; a key that is missing is 0.
        """
        try:
            file = _File.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "the file"
            raise ConfigInvalid(f"routing file: {place}: {problem['msg'].lower()}") from None
        return replace(self, candidate_bps=file.candidate, shadow_bps=file.shadow)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    candidate: int = Field(0, ge=0, le=WHOLE_BPS)
    shadow: int = Field(0, ge=0, le=WHOLE_BPS)


def bucket(salt: str, key: str) -> int:
    """The key's place from 0 to 9,999: blake2b with 8 bytes over `salt`, NUL and `key` in UTF-8, big-endian, modulo."""
    digest = hashlib.blake2b(f"{salt}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % WHOLE_BPS
