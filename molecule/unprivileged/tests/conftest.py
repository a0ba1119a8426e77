# SPDX-License-Identifier: GPL-3.0-or-later
"""Two apps on each host, both set up by root: one that somebody else deploys from then on, and one that is none of his business."""

from __future__ import annotations

import typing as t

import pytest

from apps import App, live
from unprivileged.app import DEPLOYER, Unrooted

if t.TYPE_CHECKING:
    from testinfra.host import Host

SET_UP: set[str] = set()


@pytest.fixture(scope="module")
def other(host: Host) -> App:
    """Another app of root's, with a secret."""
    app = App(host, "other", 4911, "/srv")
    app.variables["app_environment"] = {"PASSWORD": "of-the-other"}
    if "other" + app.host.backend.get_hostname() not in SET_UP:
        live(app, "one")
        SET_UP.add("other" + app.host.backend.get_hostname())
    return app


@pytest.fixture(scope="module")
def app(host: Host) -> Unrooted:
    """The app, set up by root, with a release that the deploy user has made live."""
    app = Unrooted(host)
    if app.host.backend.get_hostname() not in SET_UP:
        host.check_output("id oncall || useradd oncall")
        apt = "DEBIAN_FRONTEND=noninteractive apt-get --option=Acquire::Retries=3 -qq"
        # A name server that is slow to answer is no fault of what is tested here.
        host.check_output(f"timeout 120 sh -c 'until command -v visudo; do {apt} update; {apt} install --yes --no-install-recommends sudo; sleep 1; done'")
        done = app.run("setup")
        assert done.returncode == 0, done.stdout
        # He comes with a key of his own, as on any host; how it gets there is not this collection's business.
        host.check_output(f"install -d -o {DEPLOYER} ~{DEPLOYER}/.ssh && install -o {DEPLOYER} /root/.ssh/authorized_keys ~{DEPLOYER}/.ssh")
        done = app.deploy("first")
        assert done.returncode == 0, done.stdout
        SET_UP.add(app.host.backend.get_hostname())
    return app
