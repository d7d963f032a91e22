# SPDX-License-Identifier: Apache-2.0
"""The governor and the engines: everything between a cache miss and the provider."""
