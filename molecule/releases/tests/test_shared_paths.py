# SPDX-License-Identifier: GPL-3.0-or-later
"""What releases share belongs to the app and outlives them; what they are made of does not belong to it."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import module
from releases.app import AS_THE_APP, FOLDER, NAME, SAVED
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from releases.app import App

usual_hosts = [NEWEST]

SHARED = f"{FOLDER}/shared"
PATHS = ["public/uploads", "config/site.yml"]


@pytest.fixture(scope="module", autouse=True)
def staged(host: Host, app: App) -> None:
    """Two releases that bring the same paths, and an app that has changed what is there in between."""
    for name in ("first", "second"):
        content = app.content(name)
        (content / "public/uploads").mkdir(parents=True)
        (content / "public/uploads/logo.svg").write_text(f"the logo of the {name}")
        (content / "public/index.html").write_text(f"the page of the {name}")
        (content / "config").mkdir()
        (content / "config/site.yml").write_text(f"title: {name}")
        app.stage(content, shared_paths=PATHS, user=NAME)
        if name == "first":
            app.save("first")
            host.check_output(f"{AS_THE_APP} sh -ec 'cd {FOLDER}/releases/first; echo mine >public/uploads/mine; echo title: changed >config/site.yml'")


def test_what_the_first_release_brings_is_the_first_content_and_belongs_to_the_app(host: Host, app: App) -> None:
    found = host.check_output(f"cd {SAVED}/first/shared && find . -mindepth 1 -printf '%P %y %u:%g\\n' | sort").splitlines()
    assert found == [
        f"config d {NAME}:{NAME}",
        f"config/site.yml f {NAME}:{NAME}",
        f"public d {NAME}:{NAME}",
        f"public/uploads d {NAME}:{NAME}",
        f"public/uploads/logo.svg f {NAME}:{NAME}",
    ]
    assert host.check_output(f"cat {SAVED}/first/shared/config/site.yml") == "title: first"


@pytest.mark.parametrize("release", ["first", "second"])
def test_each_release_links_there_and_keeps_what_it_does_not_share(host: Host, release: str) -> None:
    for path in PATHS:
        assert host.check_output(f"readlink {FOLDER}/releases/{release}/{path}") == f"{SHARED}/{path}"
    assert host.check_output(f"cat {FOLDER}/releases/{release}/public/index.html") == f"the page of the {release}"


def test_the_second_release_sees_what_the_app_has_changed(host: Host) -> None:
    second = f"{FOLDER}/releases/second"
    assert host.check_output(f"{AS_THE_APP} cat {second}/config/site.yml") == "title: changed"
    assert host.check_output(f"{AS_THE_APP} cat {second}/public/uploads/mine") == "mine"
    assert host.check_output(f"{AS_THE_APP} cat {second}/public/uploads/logo.svg") == "the logo of the first"


def test_the_app_can_read_its_code_and_cannot_write_it(host: Host) -> None:
    for release in ("first", "second"):
        folder = f"{FOLDER}/releases/{release}"
        assert host.check_output(f"{AS_THE_APP} find {folder} -not -type l -writable") == ""
        assert host.check_output(f"{AS_THE_APP} find {folder} -not -readable") == ""
        assert host.run(f"{AS_THE_APP} mv {folder}/bin {folder}/gone").failed


@pytest.mark.parametrize(("target", "path"), [("/etc", "evil/planted"), ("/root", "evil/planted"), ("/etc/planted", "evil")])
def test_a_link_that_the_app_has_planted_is_not_followed_with_the_rights_of_root(host: Host, target: str, path: str) -> None:
    host.check_output(f"{AS_THE_APP} ln -sfn {target} {SHARED}/evil")
    third = {"path": FOLDER, "release": "third", "src": f"{SAVED}/contents/first", "group": NAME}
    done = module("release_stage", host, {**third, "shared_paths": [path], "user": NAME})
    assert not host.file("/etc/planted").exists
    assert not host.file("/root/planted").exists
    assert host.check_output(f"readlink {SHARED}/evil") == target
    if "/" in path:
        assert "Permission denied" in done["msg"]
        assert host.check_output(f"ls -A {FOLDER}/releases").split() == ["first", "second"]
