# SPDX-License-Identifier: GPL-3.0-or-later
"""An app that binds its port itself holds it until its owner says that the socket unit is to have it."""

from __future__ import annotations

import re
import typing as t

import pytest

from playbooks import playbook
from sockets.listener import APP, gap, wait_for
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit


usual_hosts = [OLDEST]


@pytest.mark.parametrize("kind", ["service", "process", pytest.param("service of another user", marks=pytest.mark.long)])
def test_an_app_that_binds_its_own_port_is_named_and_taken_over_on_demand(host: Host, unit: t.Callable[[str], Unit], kind: str) -> None:
    listen = ["127.0.0.1:4986", {"listen": "127.0.0.1:4987", "name": "further"}]
    app = {**APP, "app_name": "moved", "app_user": "mover" if kind == "process" else "moved", "app_listen": listen}
    serve = "python3 -m http.server --bind 0.0.0.0 4986"
    if kind == "process":
        host.check_output(f"setsid {serve} >/dev/null 2>&1 &")
    elif kind == "service":
        host.check_output(f"systemd-run --collect --unit=old-app {serve}")
    else:
        # It has the account already that the app is to have.
        host.check_output("useradd --no-create-home --home-dir /home/moved --shell /bin/sh --no-user-group moved")
        host.check_output(f"systemd-run --collect --unit=old-app --uid=moved {serve}")
    account = host.run("getent passwd moved").stdout
    wait_for(host, "0.0.0.0:4986")
    try:
        refused = playbook("setup", host, app)
        assert refused.returncode != 0
        assert re.search(rf"127.0.0.1:4986 is already held by PID \d+ \(python3{'' if kind == 'process' else ', old-app.service'}\)", refused.stdout)
        assert "app_takeover: true" in refused.stdout
        assert not host.file("/etc/systemd/system/moved.socket").exists
        assert host.socket("tcp://0.0.0.0:4986").is_listening
        done = playbook("setup", host, {**app, "app_takeover": True})
        assert done.returncode == 0, done.stdout
        assert 0 < gap(done.stdout) < 5
        assert unit("moved.socket")["ActiveState"] == "active"
        assert not host.socket("tcp://0.0.0.0:4986").is_listening
        assert host.socket("tcp://127.0.0.1:4987").is_listening
        if account:
            assert host.run("getent passwd moved").stdout == account
        else:
            made = host.user(app["app_user"])
            assert (made.group, made.home, made.shell) == ("moved", "/srv/moved", "/usr/sbin/nologin")
    finally:
        host.run("systemctl stop old-app; pkill -f 'http.server --bind 0.0.0.0 4986'")
        assert playbook("remove", host, {**app, "app_remove_data": True}).returncode == 0
        assert host.run("getent passwd moved").stdout == account
        host.run("userdel moved; userdel mover; groupdel moved")
