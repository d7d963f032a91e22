# SPDX-License-Identifier: Apache-2.0
"""How many pods share the provider's key: the address records of a headless Kubernetes Service.

    pods = await count_peers("slipway-headless.default.svc")

None where the name does not resolve now: the caller keeps to what it knew.
"""

from __future__ import annotations

import asyncio
import socket

LOOKUP_SECONDS = 2.0


async def count_peers(name: str) -> int | None:
    """Distinct addresses of `name`; the look-up runs in a worker thread. A failure is None, never an exception."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return None
    return len({entry[4][0] for entry in found}) or None
