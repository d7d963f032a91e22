# SPDX-License-Identifier: Apache-2.0
"""Compile a program into an artifact, with an honest comparison of before and after."""
