# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the fleet once for all tests, with a first release on every host."""

from __future__ import annotations

import typing as t

import pytest

from apps import tool
from fleet.fleet import BALANCER, HOSTS, Fleet


@pytest.fixture(scope="session")
def fleet() -> t.Iterator[Fleet]:
    found = Fleet()
    try:
        found.start()
        done = found.run("setup", app_serial="100%")
        assert done.status == 0, done.output
        done = found.run("deploy", app_serial="100%")
        assert done.status == 0, done.output
        yield found
    finally:
        tool("stop", *HOSTS, BALANCER)
