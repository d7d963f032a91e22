# SPDX-License-Identifier: Apache-2.0
"""A provider to prove things on: OpenAI-compatible HTTP with real quotas, faults, scenarios and a ledger."""
