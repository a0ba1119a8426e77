# SPDX-License-Identifier: GPL-3.0-or-later
"""An app with a root of its own is deployed like any other, and sees nothing of the host but what it is given."""

from __future__ import annotations

import shutil
import typing as t

import pytest

from apps import App
from hardening.probe import probed
from playbooks import ROOT, SCRATCH, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

pytestmark = pytest.mark.long

# What Python needs of the host, which a root of one's own would bring.
LIBRARIES = ["/usr", "-/lib", "-/lib64", "-/bin"]
PROBES = {
    "read:/etc": "ENOENT",
    "read:/home": "ENOENT",
    "read:/var/lib": "True",
    "read:/var/lib/dpkg": "ENOENT",
    "write:/": "EROFS",
    "write:/tmp": "True",
    "write:$STATE_DIRECTORY": "True",
    "write:$RUNTIME_DIRECTORY": "True",
    "write:../../shared": "True",
    "write:../../flags": "True",
}


def set_up(host: Host, name: str, port: int, **variables: t.Any) -> App:
    """An app that is set up and has no release yet."""
    app = App(host, name, port, "/srv")
    app.variables.update(
        app_directories=["runtime", "state"],
        app_environment={"DEMO_LINGER_SECONDS": "0.1", "PROBES": " ".join(PROBES)},
        app_switch="overlap",
        app_chroot=True,
        app_restart_method="touch",
        app_service_options={"BindReadOnlyPaths": LIBRARIES},
        **variables,
    )
    done = playbook("setup", host, app.variables)
    assert done.returncode == 0, done.stdout
    return app


def is_served_from_its_root(app: App, unit: t.Callable[[str], Unit], folder: str, *sources: str) -> None:
    """Deploys releases one after the other, and sees what each can see."""
    for number, source in enumerate(sources):
        done = app.deploy(str(number), app_release_src=source)
        assert done.returncode == 0, done.stdout
        assert app.answers() == app.current() == str(number)
        assert probed(app, f"{folder}/probe") == PROBES
    assert unit(f"{app.name}.service")["RootDirectory"] == f"{app.folder}/root"
    assert "write:/tmp True" in app.host.check_output(f"journalctl --quiet --output=cat --unit='{app.name}-deploy-*'").splitlines()


def test_an_app_in_a_root_of_its_own(host: Host, unit: t.Callable[[str], Unit]) -> None:
    host.check_output("mkdir -p /srv/roots/small && ln -sfn small /srv/roots/now")
    app = set_up(host, "rooted", 4932, app_root_directory="/srv/roots/now", app_before_switch=[["bin/probe"]])
    is_served_from_its_root(app, unit, "bin", archive("rooted"), archive("rooted"))


@pytest.fixture
def whole_root() -> str:
    """A release that is a root: what it starts is found at the top of it."""
    folder = SCRATCH / "whole-root"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests/apps/demo", folder)
    (folder / "bin").rename(folder / "programs")
    starter = folder / "programs/start"
    starter.write_text("#!/usr/bin/python3\nimport runpy\nrunpy.run_path('/demo.py', run_name='__main__')\n")
    starter.chmod(0o755)
    return str(folder)


def test_an_app_whose_release_is_the_root(host: Host, unit: t.Callable[[str], Unit], whole_root: str) -> None:
    app = set_up(host, "whole", 4933, app_command="programs/start", app_before_switch=[["programs/probe"]])
    is_served_from_its_root(app, unit, "programs", whole_root)


def test_an_app_that_cannot_run_in_its_root_is_gone_back_from_and_says_why(host: Host) -> None:
    app = set_up(host, "rootless", 4934, app_health_check={"tcp": "127.0.0.1:4934", "retries": 2})
    done = app.deploy("1")
    assert done.returncode != 0
    assert "it did not start: its main process ended (exit-code, status 203)" in " ".join(done.stdout.split())
    assert not host.file("/srv/rootless/current").exists
