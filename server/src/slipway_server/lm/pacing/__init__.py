# SPDX-License-Identifier: Apache-2.0
"""How fast this process may call the provider. One class per contract with the provider; none knows asyncio's tasks."""
