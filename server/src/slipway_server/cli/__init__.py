# SPDX-License-Identifier: Apache-2.0
"""The command `slipway`: one module per command or group; each is imported only when it runs.

`slipway --help` answers without importing DSPy. A SlipwayError becomes one line on standard error and exit code 2.
"""

from slipway_server.cli.app import main

__all__ = ["main"]
