# SPDX-License-Identifier: GPL-3.0-or-later
"""The web servers, installed once, and the story of an app behind them, told once over TCP and once over a Unix socket."""

from __future__ import annotations

import typing as t

import pytest

from web_servers.fronts import FRONTS, UPSTREAMS, install_packages, put_nginx_in_front, stop
from web_servers.story import ADDRESSES, BehindWebServers, Story

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from web_servers.story import Seen


@pytest.fixture(scope="module")
def web_servers(host: Host) -> t.Iterator[None]:
    install_packages(host)
    put_nginx_in_front(host, ADDRESSES["tcp"])
    yield
    stop(host)


@pytest.fixture(scope="module", params=sorted(UPSTREAMS))
def app(request: pytest.FixtureRequest, host: Host, web_servers: None) -> BehindWebServers:
    """The app, live, with all web servers in front of it."""
    found = BehindWebServers(host, request.param)
    found.set_up()
    for front in FRONTS.values():
        front.install(host, found.upstream, found.address)
    return found


@pytest.fixture(scope="module")
def story(app: BehindWebServers) -> Story:
    return app.story()


@pytest.fixture(params=sorted(FRONTS))
def seen(request: pytest.FixtureRequest, story: Story) -> Seen:
    """What the clients of one web server saw."""
    return story.seen[request.param]
