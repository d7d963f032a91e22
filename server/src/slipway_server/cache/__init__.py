# SPDX-License-Identifier: Apache-2.0
"""The shared cache: one file per entry, a memory tier, single flight."""
