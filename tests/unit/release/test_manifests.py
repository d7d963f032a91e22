# SPDX-License-Identifier: Apache-2.0
"""Two manifests, compared object by object."""

from __future__ import annotations

from slipway_server.release import Difference, differences

OBJECT = """---
# Source: slipway/templates/{kind}.yaml
apiVersion: v1
kind: {kind}
metadata:
  name: {name}
  labels:
    helm.sh/chart: slipway-{version}
data:
  weight: {value}
"""


def one(kind: str, name: str, value: str, version: str = "1") -> str:
    return OBJECT.format(kind=kind, name=name, value=value, version=version)


def test_the_same_objects_in_another_order_and_of_another_version_are_no_difference() -> None:
    first, second = one("ConfigMap", "a", "1"), one("Service", "a", "1")
    assert differences(first + second, one("Service", "a", "1", "2") + first) == []


def test_objects_are_added_removed_and_changed() -> None:
    before = one("ConfigMap", "old", "1") + one("ConfigMap", "routing", "0") + one("Service", "routing", "0")
    after = one("ConfigMap", "new", "1") + one("ConfigMap", "routing", "1000") + one("Service", "routing", "0")
    found = differences(before, after)
    assert found[:2] == [Difference("added", "ConfigMap", "new"), Difference("removed", "ConfigMap", "old")]
    assert (found[2].change, found[2].name) == ("changed", "routing")
    assert [line for line in found[2].lines if line[0] in "+-"] == ["-  weight: 0", "+  weight: 1000"]


def test_a_long_line_is_cut() -> None:
    [found] = differences(one("ConfigMap", "a", "x" * 1000), one("ConfigMap", "a", "y" * 1000))
    assert max(map(len, found.lines)) == 160
