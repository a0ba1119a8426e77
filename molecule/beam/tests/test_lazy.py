# SPDX-License-Identifier: GPL-3.0-or-later
"""The BEAM loads a module when it is first called. An old process must find that of its own release, however late."""

from __future__ import annotations

import subprocess
import threading
import time
import typing as t

import pytest

from overlap.client import ask
from playbooks import ROOT, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

# What it shows is a matter of the runtime, so the latest stable suite speaks for all.
testinfra_hosts = ["podman://holdfast-trixie"]
pytestmark = pytest.mark.long

APP = {
    "app_name": "beam",
    "app_command": "bin/beam",
    "app_listen": ["127.0.0.1:4805"],
    "app_service_type": "notify",
    "app_switch": "overlap",
    "app_stop_timeout": "60s",
    "app_settle_seconds": 0.5,
    "app_health_check": {"url": "http://127.0.0.1:4805/"},
    "app_release_remote_src": True,
}


def build(host: Host, release: str) -> str:
    """Compiles a release on the host, where the compiler is; returns its folder."""
    folder = f"/opt/beam/{release}"
    packed = subprocess.run(["tar", "--create", "--directory", ROOT / "tests/apps/beam", "."], check=True, capture_output=True).stdout
    unpack = ["podman", "exec", "--interactive", host.backend.get_hostname(), "sh", "-euc", f"mkdir -p {folder}/ebin && tar --extract --directory {folder}"]
    subprocess.run(unpack, input=packed, check=True)
    host.check_output(f"cd {folder} && erlc -o ebin -DRELEASE='\"{release}\"' src/*.erl")
    return folder


def deploy(host: Host, release: str) -> None:
    done = playbook("deploy", host, {**APP, "app_release_id": release, "app_release_src": build(host, release)})
    assert done.returncode == 0, done.stdout


def test_an_old_process_loads_its_own_modules(host: Host) -> None:
    patiently = "-qq -o Acquire::Retries=10"
    host.check_output(f"apt-get update {patiently} && DEBIAN_FRONTEND=noninteractive apt-get install {patiently} --yes --no-install-recommends erlang-base")
    done = playbook("setup", host, APP)
    assert done.returncode == 0, done.stdout
    deploy(host, "one")
    slow: dict[str, str] = {}
    request = threading.Thread(target=lambda: slow.update(ask(host, "/slow?40", port=4805)))
    request.start()
    second = threading.Thread(target=deploy, args=(host, "two"))
    second.start()
    while ask(host, "/", port=4805)["X-Release"] != "two":
        assert second.is_alive(), "the deploy has ended, and the old release answers"
        time.sleep(0.2)
    assert request.is_alive(), "the old process had nothing left to do, so this proves nothing"
    second.join()
    request.join()
    assert (slow["X-Release"], slow["X-Lazy"]) == ("one", "one")
    assert ask(host, "/slow?0", port=4805)["X-Lazy"] == "two"
