# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from apps import App, live

if t.TYPE_CHECKING:
    from testinfra.host import Host


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    return live(App(host, "disaster", 4940, "/srv"), "one", "two", "three")
