# SPDX-License-Identifier: Apache-2.0
"""Metrics and logs: every name in one place."""
