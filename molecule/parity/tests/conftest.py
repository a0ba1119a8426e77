# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets both apps up once a host, each with a release that is live."""

from __future__ import annotations

import typing as t

import pytest

from parity.parity import FILES, LAYERS, App, rows

if t.TYPE_CHECKING:
    from testinfra.host import Host

LIVE: dict[tuple[str, str], App] = {}


def live(app: App, prepare: str = "true") -> App:
    known = app.host.backend.get_hostname(), app.name
    if known not in LIVE:
        done = app.play("setup")
        assert done.returncode == 0, done.stdout
        app.host.check_output(prepare)
        app.deploy("one")
        LIVE[known] = app
    return LIVE[known]


@pytest.fixture(scope="module", name="with_all")
def with_all_variables(host: Host) -> App:
    """The app that has the value of every row."""
    variables = {row["variable"]: row["value"] for row in rows(*FILES) if "value" in row and "without_socket" not in row}
    variables.update(app_listen=["127.0.0.1:4950"], app_settle_seconds=0.2)
    layers = "mkdir -p /opt/parity/parity-ext/etc && echo FROM_APP_FOLDER=yes >/opt/parity/parity-ext/etc/environment && echo LAYER_5=more >/opt/parity/more"
    return live(App(host, "parity-svc", "/opt/parity/parity-ext", "parity-runner", "parity-crew", variables), layers)


@pytest.fixture(scope="module", name="with_none")
def with_no_variables(host: Host) -> App:
    """The app that has only what it must have."""
    variables = {"app_name": "parity_unset", "app_command": "bin/demo", "app_listen": ["127.0.0.1:4951"], "app_settle_seconds": 0.2}
    # A host that has seen this scenario before has more to read.
    forget = f"rm -f {' '.join(LAYERS[2:])} && systemctl try-restart parity-unset.service"
    return live(App(host, "parity-unset", "/srv/parity-unset", "parity-unset", "parity-unset", variables), forget)


@pytest.fixture(scope="module", name="without_socket")
def without_a_socket(host: Host) -> App:
    """The app that has what a held port forbids: it binds its port itself, and forks."""
    variables = {row["variable"]: row["value"] for row in rows(*FILES) if "without_socket" in row}
    variables.update(app_name="parity_apart", app_command="/bin/sh -c 'python3 demo.py & echo $$! >$PIDFILE'", app_service_type="forking")
    variables.update(app_environment={"PORT": "4952"}, app_settle_seconds=0.2)
    return live(App(host, "parity-apart", "/srv/parity-apart", "parity-apart", "parity-apart", variables))
