# SPDX-License-Identifier: Apache-2.0
"""Slipway: compiled DSPy programs behind gRPC, and the loop around them."""

from slipway_server.interpreter import mend

__version__ = "0.1.0"

mend()
