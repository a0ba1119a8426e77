# SPDX-License-Identifier: GPL-3.0-or-later
"""An app is set up where an image is made, without systemd, and holds its port as soon as the image boots."""

from __future__ import annotations

import json
import typing as t

import pytest
import testinfra
import yaml

from apps import tool
from companions.app import NAME, PORT, Companion
from playbooks import ROOT, SCRATCH, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

pytestmark = pytest.mark.long

HOLD = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), timeout=5)"


@pytest.fixture(scope="module")
def image(host: Host) -> t.Iterator[Companion]:
    """A container without systemd, in which setup has run."""
    folder = ROOT / "tools/inventory"
    known = yaml.safe_load((folder / "hosts.yml").read_text().replace("{{ inventory_dir }}", str(folder)))
    model = host.backend.get_hostname()
    name = f"{model}-image"
    inventory = SCRATCH / f"{name}.json"
    inventory.write_text(json.dumps({"all": {"vars": known["all"]["vars"], "hosts": {name: None}}}))
    tool("build", name, known["molecule"]["hosts"][model]["suite"])
    found = Companion(testinfra.get_host(f"podman://{name}"))
    found.options = ("-i", str(inventory))
    done = found.set_up()
    assert done.returncode == 0, done.stdout
    yield found
    tool("discard", name)


def test_everything_is_enabled_and_nothing_runs(image: Companion) -> None:
    links = image.host.check_output("cd /etc/systemd/system && ls -d *.wants/companion*").split()
    assert links == [f"multi-user.target.wants/{NAME}.service", f"paths.target.wants/{NAME}-restart.path", f"sockets.target.wants/{NAME}.socket"]
    assert image.host.check_output("cat /proc/1/comm") == "sleep"
    assert image.host.run(f'python3 -c "{HOLD}"').rc != 0


def test_the_same_again_changes_nothing(image: Companion) -> None:
    done = image.set_up()
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


def test_the_image_holds_the_port_from_its_boot_on_and_serves_after_a_deploy(image: Companion) -> None:
    tool("boot", image.host.backend.get_hostname())
    assert image.host.check_output(f"systemctl is-active {NAME}.socket") == "active"
    image.host.check_output(f'python3 -c "{HOLD}"')
    done = playbook("deploy", image.host, image.variables, *image.options)
    assert done.returncode == 0, done.stdout
    assert image.answers() == "one"
