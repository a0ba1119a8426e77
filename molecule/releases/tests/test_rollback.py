# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback goes by the history, and no removal of old releases takes one that is needed."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import module, playbook
from releases.app import FOLDER, NAME, SAVED, VARIABLES
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from releases.app import App

usual_hosts = [NEWEST]


@pytest.fixture(scope="module")
def deployed(app: App) -> None:
    """Releases 1, 2, bad and 3 were deployed, and 3 is live."""
    app.stage("1", "2", "3", app.content("bad", DEMO_FAULT="exit-at-start"))
    for release in ("1", "2"):
        app.make_live(release)
    assert "cannot be live" in app.switch("bad")["msg"]
    app.make_live("3")
    app.save("deployed")


@pytest.fixture(autouse=True)
def three_is_live(host: Host, app: App, deployed: None) -> None:
    """Each test begins with what was deployed, and with times of the folders that tell a wrong story."""
    app.restore("deployed")
    host.check_output(f"cd {FOLDER}/releases && touch 1 && touch -d yesterday 2 && touch -d tomorrow bad && touch -d 2001-01-01 3")


def on_disk(host: Host) -> list[str]:
    return host.check_output(f"ls -A {FOLDER}/releases").split()


def test_each_rollback_goes_one_good_release_further_back_until_none_is_left(host: Host, app: App) -> None:
    done = playbook("rollback", host, VARIABLES)
    assert done.returncode == 0, done.stdout
    assert app.live == "2"
    assert app.switch(rollback=True)["release"] == "1"
    assert app.live == "1"
    before = app.process
    refused = app.switch(rollback=True)
    assert "app_rollback_to: the history has no good release before 1" in refused["msg"]
    assert all(release in refused["msg"].partition("name one that is on this host: ")[2] for release in ("2", "3", "bad"))
    assert (app.live, app.process) == ("1", before)
    assert [(record["action"], record["from"], record["id"]) for record in app.history[-2:]] == [("rollback", "3", "2"), ("rollback", "2", "1")]
    assert on_disk(host) == ["1", "2", "3", "bad"]


def test_a_release_that_is_marked_bad_is_gone_back_to_when_it_is_named(host: Host, app: App) -> None:
    app.make_live("1", rollback=True)
    assert {release["id"]: release["bad"] for release in app.info()["releases"]} == {"1": False, "2": False, "3": True, "bad": True}
    done = playbook("rollback", host, {**VARIABLES, "app_rollback_to": "3"})
    assert done.returncode == 0, done.stdout
    assert app.live == "3"
    assert {release["id"]: release["bad"] for release in app.info()["releases"]} == {"1": True, "2": False, "3": False, "bad": True}


def test_a_rollback_that_fails_ends_where_it_began(host: Host, app: App) -> None:
    done = playbook("rollback", host, {**VARIABLES, "app_rollback_to": "bad"})
    assert done.returncode != 0
    assert "Release bad cannot be live" in done.stdout
    assert "Release 3 is live and healthy again" in " ".join(done.stdout.split())
    assert app.live == "3"
    assert "bad" in on_disk(host)


def test_a_rollback_to_what_is_not_there_names_the_variable(app: App) -> None:
    before = app.process
    assert "app_rollback_to: release gone has not been staged" in app.switch("gone", rollback=True)["msg"]
    assert app.process == before


# How other tools have removed the release that was live.


def test_a_failed_deploy_of_the_live_release_does_not_clean_it_away(host: Host, app: App) -> None:
    before = app.process
    host.check_output(f"echo no archive >{SAVED}/broken.tar.gz")
    done = module("release_stage", host, {"path": FOLDER, "release": "3", "src": f"{SAVED}/broken.tar.gz", "group": NAME})
    assert "release 3 is already on this host with other content" in done["msg"]
    assert "3" not in app.prune(keep=1)["removed"]
    assert (app.live, app.process) == ("3", before)


def test_an_old_release_that_is_deployed_again_is_not_removed_as_the_oldest(host: Host, app: App) -> None:
    app.make_live("1")
    assert app.prune(keep=2)["removed"] == ["bad", "2"]
    assert on_disk(host) == ["1", "3"]
    assert app.live == "1"


def test_the_newest_release_can_be_gone_back_to_while_an_older_one_is_live(host: Host, app: App) -> None:
    app.make_live("2", rollback=True)
    app.make_live("3", rollback=True)
    app.prune(keep=1)
    assert "3" in on_disk(host)
    assert app.live == "3"


def test_a_release_that_was_gone_back_to_is_not_removed_for_its_age(host: Host, app: App) -> None:
    app.make_live("1", rollback=True)
    app.prune(keep=2)
    assert "1" in on_disk(host)
    assert app.live == "1"
    app.prune(keep=1)
    assert "1" in on_disk(host)
    assert app.live == "1"
