# SPDX-License-Identifier: Apache-2.0
"""An API key from the settings or from a file that is read again when it changes (a mounted Secret is swapped)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import SecretStr

from slipway_server.errors import ConfigInvalid


class ApiKey:
    """The key as it is now.

    key = ApiKey(settings.embedding_api_key, settings.embedding_api_key_file, "SLIPWAY_EMBEDDING_API_KEY")
    await key.read()  # None where neither is set

    The file wins. `read` raises ConfigInvalid where it cannot be read; `name` is what the message calls the key.
    """

    def __init__(self, value: SecretStr | None, file: Path | None, name: str) -> None:
        self._value, self._file, self._name = value, file, name
        self._seen: tuple[int, int, int] | None = None

    async def read(self) -> str | None:
        """The key, or None."""
        if self._file is not None:
            await asyncio.to_thread(self._refresh, self._file)
        return self._value.get_secret_value() if self._value is not None else None

    def __repr__(self) -> str:
        return f"ApiKey({self._name})"

    def _refresh(self, file: Path) -> None:
        try:
            facts = file.stat()
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if seen != self._seen:
                self._value, self._seen = SecretStr(file.read_text().strip()), seen
        except OSError:
            raise ConfigInvalid(f"{self._name}_FILE: {file} cannot be read", key=f"{self._name}_FILE") from None
