# SPDX-License-Identifier: Apache-2.0
"""kill -9 of pods while they record: nothing is interleaved, and nothing is lost but the record in hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from slipway_server.traffic import read_traffic

PODS, ROUNDS, LEAST = 4, 2, 40

POD = """
import sys, time
from pathlib import Path
from slipway_server.runtime.types import Receipt
from slipway_server.telemetry import metrics
from slipway_server.traffic import Recorder, Redactor, TrafficConfig

name, folder = sys.argv[1], Path(sys.argv[2])
config = TrafficConfig(
    folder, Redactor(["*"], []), sample=1.0, rotate_bytes=20_000, sync_seconds=0.01, queue_records=100_000
)
recorder = Recorder(config)  # its queue never overflows: a slow volume makes no holes
written = metrics.TRAFFIC_RECORDS.labels("written")
for number in range(100_000):
    receipt = Receipt(f"{name}-{number:06d}", "p", "a", "d", "stable", "m", "miss", 1, 1, {}, 1, 1, None, "", (), 0.1)
    recorder({"question": "q" * (number % 300)}, {"answer": name * 40}, receipt)
    print(int(written._value.get()), flush=True)
    time.sleep(0.0005)
"""


def pods(folder: Path, round_: int) -> dict[str, int]:
    """Run pods, kill them in full flight; returns how many records each had surely written."""
    names = [f"pod{round_}x{number}" for number in range(PODS)]
    running = [
        subprocess.Popen([sys.executable, "-c", POD, name, str(folder)], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    written = {}
    for name, process in zip(names, running, strict=True):
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= LEAST + 37 * round_:
                break
        process.kill()
        rest = [int(number) for number in re.findall(r"^(\d+)$", line + process.stdout.read(), re.MULTILINE)]
        process.wait()
        process.stdout.close()
        written[name] = max(rest)
    return written


def test_killed_pods_lose_at_most_the_record_in_hand(tmp_path: Path) -> None:
    written: dict[str, int] = {}
    for round_ in range(ROUNDS):
        written |= pods(tmp_path, round_)
    traffic = read_traffic(tmp_path)
    assert len(written) == PODS * ROUNDS
    for name, count in written.items():
        mine = [record for record in traffic.records if record.request_id.startswith(f"{name}-")]
        numbers = sorted(int(record.request_id.rpartition("-")[2]) for record in mine)
        assert numbers == list(range(len(numbers))), "a hole, or another pod's record"
        assert len(numbers) >= count
        assert all(record.outputs == {"answer": name * 40} for record in mine)
    assert traffic.damage.torn <= PODS * ROUNDS
    assert traffic.damage.unreadable == 0
    segments = [path.name for path in tmp_path.glob("requests/*/*")]
    assert any(name.endswith(".open") for name in segments)
    assert any(name.endswith(".jsonl") for name in segments)
