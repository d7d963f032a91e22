# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: missing entries are said, never guessed at later."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_server.simulate import Entry, Ledger

FULL = Path("/dev/full")
ENTRY = Entry(0, 0.0, 0.1, "/v1/chat/completions", "m", "1234", 200, "ok", False, 10, 2, "", "", "sim-0")


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Ledger(tmp_path).open()


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a file that is always full")
def test_a_volume_that_fills_up_ends_the_file_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(FULL)
    ledger.open()
    ledger.add(ENTRY)
    ledger.close()
    assert caplog.messages == ["the ledger's file ends here: No space left on device"]
    ledger.add(ENTRY)
    assert ledger.count(status=200) == 2
