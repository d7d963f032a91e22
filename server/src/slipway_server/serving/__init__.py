# SPDX-License-Identifier: Apache-2.0
"""gRPC and HTTP; knows nothing of DSPy."""
