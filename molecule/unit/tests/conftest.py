# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hosts import Call, inside

if t.TYPE_CHECKING:
    from testinfra.host import Host


@pytest.fixture(scope="module", name="inside")
def inside_the_host(host: Host) -> Call:
    """Calls a function of inside.py on the host."""
    return inside(host.backend.get_hostname(), Path(__file__).parent)
