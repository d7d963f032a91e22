# SPDX-License-Identifier: Apache-2.0
"""The demonstration's data: passages about the Merrin Isles, which do not exist, and questions about them.

Four files of JSON lines lie in `FOLDER`: `corpus.jsonl` (id, title, text) and `train.jsonl`, `dev.jsonl` and
`regression.jsonl` (question, answer, gold_titles: the titles of the passages that the answer rests on). The world is
invented, so that no model knows an answer by heart. `python -m slipway_server.demo` runs the demonstration.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
