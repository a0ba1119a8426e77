# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/from-plain-service.md says: from a service that binds its port to one that never closes it again."""

from __future__ import annotations

import re
import subprocess
import typing as t

import pytest

from clients import asked_all_the_time
from playbooks import ROOT, SCRATCH, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

PAGE = ROOT / "docs/from-plain-service.md"
PORT = 4852
SERVER = f"import http.server as h; h.ThreadingHTTPServer(('127.0.0.1', {PORT}), h.SimpleHTTPRequestHandler).serve_forever()"
# Of the same name as the app, as it is where people come from.
OLD = f"""[Service]
ExecStart=/usr/bin/python3 -c "{SERVER}"
WorkingDirectory=/usr/share

[Install]
WantedBy=multi-user.target
"""
APP = {
    "app_name": "plain",
    "app_command": "bin/demo",
    "app_listen": [f"127.0.0.1:{PORT}"],
    "app_service_type": "notify",
    "app_health_check": {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}},
    "app_settle_seconds": 0.3,
}


@pytest.fixture(scope="module")
def old(host: Host) -> t.Iterator[None]:
    host.check_output("printf %s %s >/etc/systemd/system/plain.service && systemctl daemon-reload && systemctl enable --now plain.service", "%s", OLD)
    host.check_output(f'timeout 10 sh -c \'until python3 -c "import socket; socket.create_connection((\\"127.0.0.1\\", {PORT}))"; do sleep 0.1; done\'')
    yield
    done = playbook("remove", host, {**APP, "app_remove_data": True})
    assert done.returncode == 0, done.stdout


def taken_over(host: Host) -> subprocess.CompletedProcess[str]:
    """The play of the page."""
    play = re.search(r"`take-over\.yml`:\n\n```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert play
    path = SCRATCH / "take-over.yml"
    path.write_text(play[1])
    given = {**APP, "app_hosts": host.backend.get_hostname(), "app_release_src": archive("plain"), "app_release_id": "first"}
    return playbook(str(path), host, given)


def test_a_look_beforehand_names_who_holds_the_port_and_changes_nothing(host: Host, old: None) -> None:
    done = playbook("setup", host, APP, "--check", "--diff")
    assert re.search(r"127\.0\.0\.1:4852 is already held by PID \d+ \(python3, plain\.service\)", " ".join(done.stdout.split()))
    assert host.check_output("systemctl is-active plain.service") == "active"
    assert not host.file("/etc/systemd/system/plain.socket").exists


def test_the_port_is_taken_over_in_one_play_and_closed_only_for_a_moment(host: Host, old: None) -> None:
    with asked_all_the_time(host, PORT) as seen:
        done = taken_over(host)
        assert done.returncode == 0, done.stdout
    assert "The port was closed for" in done.stdout
    # Refused in the moment in which the port changes hands; what the old server had in hand may be lost. Nobody after it.
    last = max((place for place, answer in enumerate(seen) if answer != "200"), default=-1)
    assert len(seen) - last > 5
    assert sum(answer != "200" for answer in seen) < len(seen) / 2
    assert host.check_output("systemctl is-active plain.socket plain.service").split() == ["active", "active"]


def test_from_then_on_nobody_is_refused(host: Host, old: None) -> None:
    with asked_all_the_time(host, PORT) as seen:
        done = playbook("deploy", host, {**APP, "app_release_id": "second", "app_release_src": archive("plain", DEMO_START_SECONDS="1")})
        assert done.returncode == 0, done.stdout
    assert set(seen) == {"200"}
