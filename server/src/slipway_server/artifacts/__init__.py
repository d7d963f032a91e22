# SPDX-License-Identifier: Apache-2.0
"""Artifacts and their store: digest, manifest, verification."""
