# SPDX-License-Identifier: Apache-2.0
"""Collections of passages: ingest and search."""
