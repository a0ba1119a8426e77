# SPDX-License-Identifier: GPL-3.0-or-later
"""An app that does not take the socket it is given is an error that says so, on a first deploy as well as later."""

from __future__ import annotations

import shutil
import tarfile
import typing as t

import pytest

from clients import asked_all_the_time
from playbooks import SCRATCH, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

PORT = 4851
APP = {
    "app_name": "unlearned",
    "app_command": "bin/demo",
    "app_listen": [f"127.0.0.1:{PORT}"],
    "app_health_check": {"url": f"http://127.0.0.1:{PORT}/", "timeout": 1, "interval": 0.1, "retries": 2},
    "app_settle_seconds": 0.3,
}
SERVER = "import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"


@pytest.fixture(scope="module", autouse=True)
def good(host: Host) -> t.Iterator[None]:
    """A release that takes the socket, and is live."""
    for name in ("setup", "deploy"):
        done = playbook(name, host, {**APP, "app_release_id": "good", "app_release_src": archive("unlearned")})
        assert done.returncode == 0, done.stdout
    yield
    done = playbook("remove", host, {**APP, "app_remove_data": True})
    assert done.returncode == 0, done.stdout


def release_that_binds(port: int) -> str:
    """An archive whose app binds this port, and knows nothing of systemd."""
    folder = SCRATCH / f"binds-{port}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/demo").write_text(f"#!/usr/bin/python3\n{SERVER.format(port=port)}\n")
    (folder / "bin/demo").chmod(0o755)
    path = SCRATCH / f"binds-{port}.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        packed.add(folder, ".")
    return str(path)


def answers(host: Host) -> str:
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORT}/', timeout=30).headers['X-Release'])"
    return str(host.check_output(f'python3 -c "{script}"')).strip()


@pytest.mark.parametrize(
    ("port", "said"),
    [
        # Either way it may end: systemd sees it run for a moment, or not.
        (PORT, "Address already in use"),
        (PORT + 1, f"http://127.0.0.1:{PORT}/ did not answer: timed out"),
    ],
)
def test_it_is_gone_back_from_and_the_error_says_what_it_did(host: Host, port: int, said: str) -> None:
    with asked_all_the_time(host, PORT) as seen:
        done = playbook("deploy", host, {**APP, "app_release_id": f"binds-{port}", "app_release_src": release_that_binds(port)})
    assert done.returncode != 0
    plain = " ".join(done.stdout.split())
    assert f"Release binds-{port} cannot be live" in plain
    assert said in plain
    assert answers(host) == "good"
    # Whoever came meanwhile has waited for the release that is live again.
    assert set(seen) == {"200"}
