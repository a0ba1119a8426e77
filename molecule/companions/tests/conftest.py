# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the app up and deploys it once a host; the modules of tests use it one after the other."""

from __future__ import annotations

import typing as t

import pytest

from companions.app import Companion
from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

DEPLOYED: dict[str, str] = {}


@pytest.fixture(scope="module")
def app(host: Host) -> Companion:
    """The app, live."""
    found = Companion(host)
    name = host.backend.get_hostname()
    if name not in DEPLOYED:
        for step in ("setup", "deploy"):
            done = playbook(step, host, found.variables, *found.options)
            assert done.returncode == 0, done.stdout
            DEPLOYED[name] = DEPLOYED.get(name, "") + done.stdout
    return found


@pytest.fixture(scope="module")
def told(app: Companion) -> str:
    """What the playbooks said."""
    return DEPLOYED[app.host.backend.get_hostname()]
