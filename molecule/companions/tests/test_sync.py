# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration comes from a store like S3 before each start: a real server on the controller, a real client on the host."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import typing as t

import boto3
import pytest

from companions.app import AS_THE_APP, NAME
from playbooks import SCRATCH, module

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion
    from conftest import Unit

pytestmark = pytest.mark.long

UNIT = f"{NAME}-config-sync.service"
CLIENT_CONFIGURATION = f"/etc/{NAME}-s3cmd.conf"
KEYS = {"access_key": "AKIACOMPANION", "secret_key": "hunter4"}


class Store:
    """An S3 server of this test's own, which can go down and come up."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with socket.create_server(("", 0)) as free:
            self.port = free.getsockname()[1]
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where the host finds it."""
        return f"{self.host.check_output('ip route').split('default via ')[1].split()[0]}:{self.port}"

    def start(self, **objects: str) -> None:
        command = [sys.executable, "-m", "moto.server", "--host", "0.0.0.0", "--port", str(self.port)]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            time.sleep(0.1)
        self.client.create_bucket(Bucket="config")
        for name, text in objects.items():
            self.put(name, text)

    def stop(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait()

    @property
    def client(self) -> t.Any:
        keys = {"aws_access_key_id": KEYS["access_key"], "aws_secret_access_key": KEYS["secret_key"]}
        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", **keys)

    def put(self, name: str, text: str) -> None:
        self.client.put_object(Bucket="config", Key=f"production/{name}", Body=text.encode())


@pytest.fixture(scope="module")
def store(host: Host, app: Companion) -> t.Iterator[Store]:
    """The store, from which the app's configuration comes."""
    host.check_output("command -v s3cmd || { apt-get update -qq && apt-get install -qq --yes --no-install-recommends s3cmd; }")
    found = Store(host)
    found.start(environment="COLOUR=the secret blue\n")
    settings = {**KEYS, "host_base": found.address, "host_bucket": found.address, "use_https": "False"}
    path = SCRATCH / f"s3cmd-{found.port}.conf"
    path.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    done = app.set_up(
        app_config_sync_command=f"+/usr/bin/s3cmd --config={CLIENT_CONFIGURATION} --no-preserve sync s3://config/production/ /etc/{NAME}/",
        app_copy_files=[{"src": str(path), "dest": CLIENT_CONFIGURATION, "group": "root", "mode": "0600"}],
    )
    assert done.returncode == 0, done.stdout
    assert KEYS["secret_key"] not in done.stdout
    yield found
    found.stop()


def test_the_app_starts_with_what_the_store_has(host: Host, app: Companion, store: Store) -> None:
    assert app.environment()["COLOUR"] == "the secret blue"
    store.put("environment", "COLOUR=the secret red\n")
    host.check_output(f"systemctl restart {NAME}.service")
    assert app.environment()["COLOUR"] == "the secret red"


def test_nobody_else_can_read_it(host: Host, app: Companion, store: Store) -> None:
    journal = host.check_output("journalctl --no-pager --quiet")
    assert "the secret" not in journal
    assert KEYS["secret_key"] not in journal
    host.check_output(f"{AS_THE_APP} cat /etc/{NAME}/environment")
    assert host.run(f"{AS_THE_APP} cat {CLIENT_CONFIGURATION}").rc != 0
    assert host.run(f"setpriv --reuid=nobody --clear-groups cat /etc/{NAME}/environment").rc != 0


def test_what_runs_as_root_takes_nothing_from_what_the_app_may_write(unit: t.Callable[[str], Unit], app: Companion, store: Store) -> None:
    assert unit(UNIT)["EnvironmentFiles"] == f"/etc/{NAME}/app_environment (ignore_errors=no)"


def test_a_store_that_is_down_leaves_the_live_app_alone(host: Host, app: Companion, store: Store) -> None:
    pid = app.pid
    store.stop()
    done = module("release_switch", host, {**app.switch, "restart": True})
    assert f"{UNIT}, without which {NAME}.service does not start, failed" in done["msg"]
    assert "Connection refused" in done["msg"]
    assert "What is live was not touched" in done["msg"]
    assert app.pid == pid


def test_the_app_does_not_start_without_it_until_the_store_is_back(host: Host, app: Companion, store: Store) -> None:
    store.stop()
    assert host.run(f"systemctl restart {NAME}.service").rc != 0
    assert app.pid == "0"
    assert host.check_output(f"systemctl is-active {NAME}.socket") == "active"
    store.start(environment="COLOUR=the secret green\n")
    # A client is enough to start it.
    assert app.answers() == "one"
    assert app.environment()["COLOUR"] == "the secret green"
