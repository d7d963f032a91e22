# SPDX-License-Identifier: Apache-2.0
"""Loads artifacts into variants, runs requests and writes receipts; knows DSPy and nothing of gRPC."""
