# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from doctor.patient import VARIABLES, Patient
from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host


@pytest.fixture(scope="module")
def patient(host: Host) -> Patient:
    """The app, set up and deployed once on each host."""
    for name in ("setup", "deploy"):
        done = playbook(name, host, VARIABLES)
        assert done.returncode == 0, done.stdout
    return Patient(host)
