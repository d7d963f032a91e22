# SPDX-License-Identifier: Apache-2.0
"""Metrics, the asynchronous evaluator and its statistics."""
