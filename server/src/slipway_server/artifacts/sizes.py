# SPDX-License-Identifier: Apache-2.0
"""The check of an artifact's size: a ConfigMap holds it, unless SLIPWAY_ARTIFACT_MAX_BYTES allows for a volume."""

from __future__ import annotations

from collections.abc import Iterator

from slipway_server.artifacts.files import MAX_BYTES, MAX_CONTENT_BYTES
from slipway_server.artifacts.findings import Finding, Subject, error, note
from slipway_server.artifacts.manifest import GZIP_SUFFIX


def size(subject: Subject) -> Iterator[Finding]:
    """Both files fit into what they lie in: one ConfigMap, unless the settings allow more."""
    pair, limit = subject.pair, subject.served.max_bytes
    if max(len(pair.state), len(pair.manifest)) > MAX_CONTENT_BYTES:
        yield error("size", f"holds more than {MAX_CONTENT_BYTES:,} bytes", "compile with fewer demos")
        return
    forms = {"plain": len(pair.state) + len(pair.manifest), "gzipped": pair.gzipped_bytes}
    sizes = ", ".join(f"{form} {total:,} bytes{_margin(total)}" for form, total in forms.items())
    if pair.stored_bytes < min(limit, MAX_BYTES):
        yield note("size", f"{sizes}; a ConfigMap holds {MAX_BYTES:,}")
    elif pair.stored_bytes < limit:
        yield note("size", f"{sizes}; more than a ConfigMap holds ({MAX_BYTES:,}): serve it from a volume")
    else:
        yield error("size", f"{_too_large(limit)}: {sizes}", _smaller(subject, forms["gzipped"]))


def _margin(total: int) -> str:
    left = f", {MAX_BYTES - total:,} left" if total < MAX_BYTES else ""
    return f" ({100 * total / MAX_BYTES:.1f} %{left})"


def _too_large(limit: int) -> str:
    if limit == MAX_BYTES:
        return f"is larger than a ConfigMap may be ({MAX_BYTES:,} bytes)"
    return f"is larger than SLIPWAY_ARTIFACT_MAX_BYTES allows ({limit:,} bytes)"


def _smaller(subject: Subject, gzipped_bytes: int) -> str:
    """What to do with an artifact that is too large."""
    limit, name = subject.served.max_bytes, subject.path.name
    if gzipped_bytes < limit and not name.endswith(GZIP_SUFFIX):
        return f"gzip -nk {name}, and serve that"
    if limit >= MAX_CONTENT_BYTES:
        return "compile with fewer demos"
    return "compile with fewer demos, or serve it from a volume with a larger SLIPWAY_ARTIFACT_MAX_BYTES"
