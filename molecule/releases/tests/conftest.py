# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the app up once a host, and gives it to each module of tests as if it had just been set up."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import playbook
from releases.app import VARIABLES, App

if t.TYPE_CHECKING:
    from testinfra.host import Host

SET_UP: set[str] = set()


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    """The app, set up and without a release."""
    found = App(host)
    if found.container not in SET_UP:
        done = playbook("setup", host, VARIABLES)
        assert done.returncode == 0, done.stdout
        found.host.check_output(f"systemctl stop {found.service} && find /srv/release-test -mindepth 1 -not -path '*/releases' -not -path '*/shared' -delete")
        found.save("set-up")
        SET_UP.add(found.container)
    found.restore("set-up")
    return found
