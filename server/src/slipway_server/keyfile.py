# SPDX-License-Identifier: Apache-2.0
"""An API key in a file that is read again when it changes (a mounted Secret is swapped)."""

from __future__ import annotations

from pathlib import Path

from slipway_server.errors import ConfigInvalid


class KeyFile:
    """The key as it is now. Blocking: for worker threads.

    key = KeyFile(settings.lm_api_key_file, "SLIPWAY_LM_API_KEY_FILE")
    key()  # raises ConfigInvalid, which names the setting and the file, where it cannot be read or is empty
    """

    def __init__(self, path: Path, setting: str) -> None:
        self._path, self._setting = path, setting
        self._seen: tuple[int, int, int] | None = None
        self._key = ""

    def __call__(self) -> str:
        try:
            facts = self._path.stat()
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if seen != self._seen:
                self._key, self._seen = self._path.read_text(encoding="utf-8").strip(), seen
        except (OSError, UnicodeDecodeError):
            raise self._invalid("cannot be read") from None
        if not self._key:
            raise self._invalid("is empty")
        return self._key

    def __repr__(self) -> str:
        return f"KeyFile({self._setting})"

    def _invalid(self, why: str) -> ConfigInvalid:
        return ConfigInvalid(f"{self._setting}: {self._path} {why}", key=self._setting)
