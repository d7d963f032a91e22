# SPDX-License-Identifier: Apache-2.0
"""Compiling: optimizers, progress, the comparison with the uncompiled program."""
