# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the module's documentation are what people copy, so they run."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.holdfast.systemd.plugins.modules import unit as documented

from playbooks import SCRATCH
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

usual_hosts = [OLDEST]

TASKS = yaml.safe_load(documented.EXAMPLES)


def run(host: Host, tasks: list[dict[str, t.Any]]) -> str:
    path = SCRATCH / f"{host.backend.get_hostname()}-examples.yml"
    path.write_text(yaml.safe_dump([{"hosts": host.backend.get_hostname(), "gather_facts": False, "tasks": tasks}]))
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(["ansible-playbook", path], env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def installed(host: Host) -> t.Iterator[str]:
    """What the examples say when all but the last, which removes everything, have run."""
    yield run(host, TASKS[:-1])
    run(host, TASKS[-1:])
    assert host.check_output("ls /etc/systemd/system | grep --count '^shop' || true") == "0"


def test_the_examples_change_nothing_the_second_time(host: Host, installed: str) -> None:
    # Listening elsewhere is a change of its own kind: it takes the place of the first example's address.
    again = [task for task in TASKS[:-1] if task["name"] not in ("Install a socket and its service", "Listen elsewhere, at the price of a gap")]
    assert "changed=0" in run(host, again)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Environment", 'GREETING=say "hello" TOKEN=none'),
        ("MemoryMax", str(2 << 30)),
        ("NonBlocking", "yes"),
        ("NeedDaemonReload", "no"),
    ],
)
def test_what_the_examples_say_is_in_effect(unit: t.Callable[[str], Unit], installed: str, name: str, value: str) -> None:
    found = unit("shop.service")[name]
    assert found.replace('"GREETING=say \\"hello\\""', 'GREETING=say "hello"') == value


def test_the_drop_in_replaced_the_commands(unit: t.Callable[[str], Unit], installed: str) -> None:
    commands = unit("shop.service")["ExecStartPre"]
    assert commands.count("path=/usr/bin/logger") == 2
    assert "100 % sure" not in commands
