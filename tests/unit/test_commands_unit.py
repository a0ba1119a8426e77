# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit that the commands before and after a switch run in."""

from __future__ import annotations

import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands

SERVICE = """\
[Service]
User=shop
WorkingDirectory=/srv/shop/current
ExecStart=/srv/shop/current/bin/shop
WatchdogSec=5s
NotifyAccess=main
# /etc/systemd/system/shop.service.d/10-sandbox.conf
[Service]
RootDirectory=/srv/shop/root
ProtectSystem=strict
ReadWritePaths=-/srv/shop/shared
BindReadOnlyPaths=/srv/shop/current:/
BindReadOnlyPaths=/srv/shop /srv/shop/currently
"""


def commands_unit() -> dict[str, t.Any]:
    commands = Commands(["/bin/true"], service="shop.service", release="2", folder="/srv/shop/releases/2", timeout="10min", variable="app_before_switch")
    return _unit_file.parse(commands.unit(SERVICE))["Service"]


def test_commands_run_in_the_sandbox_of_the_service() -> None:
    found = commands_unit()
    assert (found["User"], found["ProtectSystem"], found["ReadWritePaths"]) == (["shop"], ["strict"], ["-/srv/shop/shared"])


def test_a_root_that_is_the_live_release_is_the_new_one_for_its_commands() -> None:
    found = commands_unit()
    assert found["RootDirectory"] == ["/srv/shop/root"]
    assert found["BindReadOnlyPaths"] == ["/srv/shop/releases/2:/", "/srv/shop /srv/shop/currently"]
    assert found["WorkingDirectory"] == ["/srv/shop/releases/2"]


def test_nobody_watches_a_command() -> None:
    assert not {"WatchdogSec", "NotifyAccess"} & set(commands_unit())
