# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that goes into the background is not the process that systemd gives the socket to."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

# It is refused before anything is done to a host.
testinfra_hosts = ["podman://holdfast-trixie"]


@pytest.mark.parametrize(
    ("runtime", "variables"),
    [
        ("elixir", {"app_service_type": "forking"}),
        ("elixir", {"app_start_command": "daemon"}),
        ("erlang", {"app_service_type": "forking"}),
        ("erlang", {"app_command": "bin/refused daemon"}),
    ],
)
def test_a_vm_in_the_background_is_refused_with_the_reason(host: Host, runtime: str, variables: dict[str, str]) -> None:
    done = playbook("setup", host, {"app_name": "refused", "app_runtime": runtime, **variables})
    assert done.returncode != 0
    assert "LISTEN_PID" in done.stdout
    assert not host.file("/etc/systemd/system/refused.service").exists
