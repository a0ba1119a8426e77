# SPDX-License-Identifier: GPL-3.0-or-later
"""A path leads below a folder however it is written."""

from __future__ import annotations

import pytest
from ansible_collections.holdfast.systemd.plugins.filter.below import below

FOLDERS = ["/srv/shop", "/run//shop/"]


@pytest.mark.parametrize(
    "path",
    [
        "/srv/shop/current/environment",
        "/srv//shop/./x",
        "//srv/shop/x",
        "/etc/../srv/shop/x",
        "/run/shop/environment",
        "/var/run/shop/environment",
        "/var//run/shop/environment",
        "%t/shop/environment",
        "/run/sho[p]/environment",
        "/srv/*/x",
        '"/run/shop/x"',
    ],
)
def test_what_leads_there_is_picked(path: str) -> None:
    assert below([path], FOLDERS) == [path]


@pytest.mark.parametrize("path", ["/etc/shop/environment", "/srv/shopping/x", "/srv/shop", "/run/shop.sock", "/srv/shop/../other/x"])
def test_what_leads_elsewhere_is_not(path: str) -> None:
    assert below([path], FOLDERS) == []


def test_everything_is_below_the_root() -> None:
    assert below(["/etc/x"], ["/"]) == ["/etc/x"]
