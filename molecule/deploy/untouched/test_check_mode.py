# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a clean host says what it would do, and does nothing."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host


@pytest.mark.parametrize("path", ["/srv/demo", "/etc/demo", "/etc/systemd/system/demo.socket", "/etc/systemd/system/demo.service"])
def test_check_mode_leaves_nothing_on_a_clean_host(host: Host, path: str) -> None:
    assert not host.file(path).exists


def test_check_mode_creates_no_account(host: Host) -> None:
    assert not host.user("demo").exists
    assert not host.group("demo").exists
