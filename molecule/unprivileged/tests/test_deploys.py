# SPDX-License-Identifier: GPL-3.0-or-later
"""After one set-up by root the deploy user does all that a deploy needs, and root can still do it too."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import archive, module
from unprivileged.app import AS_DEPLOYER, DEPLOYER
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit
    from unprivileged.app import Unrooted

usual_hosts = [NEWEST]

AS_THE_APP = "setpriv --reuid=unrooted --regid=unrooted --clear-groups"


def owners(host: Host, *paths: str) -> set[str]:
    """To whom everything below belongs, and what is not a link and others than its owner may write."""
    looked = " ".join(paths)
    return set(host.check_output(f"find {looked} -printf '%u\\n' && find {looked} -not -type l -perm /022 -printf 'writable: %p\\n'").split("\n"))


def test_what_he_deploys_is_his_and_the_app_can_read_it_and_not_write(host: Host, app: Unrooted, unit: t.Callable[[str], Unit]) -> None:
    assert app.answers() == "first"
    assert unit("unrooted.service")["User"] == "unrooted"
    assert owners(host, "/srv/unrooted/releases", "/srv/unrooted/.deploy", "/srv/unrooted/current") == {DEPLOYER}
    assert host.check_output("stat --format='%U:%G %a' /srv/unrooted/releases/first/demo.py /srv/unrooted").split("\n") == [
        "deployer:unrooted 644",
        "root:deployer 1775",
    ]
    for change in ("touch /srv/unrooted/releases/new", "touch /srv/unrooted/releases/first/demo.py", "mv /srv/unrooted/current /srv/unrooted/shared/x"):
        assert host.run(f"{AS_THE_APP} {change}").rc != 0, change
    # What the releases share is the app's, though it was the deploy user who had it made.
    assert host.check_output("stat --format='%U:%G' /srv/unrooted/shared/public/uploads") == "unrooted:unrooted"
    host.check_output(f"{AS_THE_APP} touch /srv/unrooted/releases/first/public/uploads/mine")


def test_no_request_fails_while_he_deploys_in_every_way(app: Unrooted, unit: t.Callable[[str], Unit]) -> None:
    opened = unit("unrooted.socket")["ActiveEnterTimestampMonotonic"]
    with app.asked_all_the_time() as seen:
        done = app.deploy("second", app_switch="overlap")
        assert done.returncode == 0, done.stdout
        assert app.answers() == app.current() == "second"
        assert app.switched(release="first", strategy="restart")["changed"]
        assert app.answers() == app.current() == "first"
        assert app.switched(release="second", strategy="reload")["changed"]
        assert app.answers() == app.current() == "second"
        done = app.deploy("broken", app_switch="overlap", app_release_src=archive("unrooted-broken", DEMO_FAULT="exit-at-start"))
        assert done.returncode != 0
        assert "Release broken cannot be live: its stand-in did not start" in done.stdout
        # The journal of the stand-in is his to see.
        assert "The last lines of its journal" in done.stdout
        done = app.run("rollback", *AS_DEPLOYER)
        assert done.returncode == 0, done.stdout
        assert app.answers() == app.current() == "first"
    assert set(seen) == {"200"}
    assert unit("unrooted.socket")["ActiveEnterTimestampMonotonic"] == opened
    assert [(record["id"], record["action"], record["result"]) for record in app.history()[-2:]] == [
        ("broken", "deploy", "failed"),
        ("first", "rollback", "ok"),
    ]


def test_his_commands_run_as_the_app(host: Host, app: Unrooted) -> None:
    say = 'echo "$(id -un) $(id -Gn) $(pwd -P) $DEMO_START_SECONDS $1" >"$STATE_DIRECTORY/$1"'
    done = app.switched(release="second", before=[["sh", "-c", say, "sh", "before"]], after=["/bin/sh -c 'id -un >/var/lib/unrooted/after'"])
    assert done.get("release") == "second", done
    assert host.check_output("cat /var/lib/unrooted/before") == "unrooted unrooted /srv/unrooted/releases/second 1 before"
    assert host.check_output("cat /var/lib/unrooted/after") == "unrooted"
    assert host.run("ls /run/systemd/system/unrooted*").stdout == ""


def test_a_command_that_fails_leaves_the_live_release_untouched(app: Unrooted, unit: t.Callable[[str], Unit]) -> None:
    pid = unit("unrooted.service")["MainPID"]
    done = app.switched(release="first", before=["/bin/sh -c 'echo the table is locked >&2; exit 3'"])
    assert "app_before_switch failed" in done["msg"]
    assert "the table is locked" in done["msg"]
    assert "Nothing was touched" in done["msg"]
    assert unit("unrooted.service")["MainPID"] == pid


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ({"tcp": "127.0.0.1:4910"}, ""),
        ({"command": ["sh", "-c", "[ $(id -un) = unrooted ] && [ $(pwd -P) = /srv/unrooted/releases/first ]"]}, ""),
        ({"command": ["sh", "-c", "echo not yet; exit 3"]}, "sh ended with status 3: not yet"),
        ({"command": ["sleep", "61.25"], "timeout": 0.2}, "sleep did not end within 0.2 s"),
        ({"command": ["/none"]}, "/none"),
    ],
)
def test_health_checks_of_every_kind(host: Host, app: Unrooted, check: dict[str, t.Any], complaint: str) -> None:
    done = app.switched(release="first", restart=True, rollback_on_failure=False, health_check={**check, "retries": 2, "interval": 0.1})
    assert complaint in done.get("msg", "")
    assert bool(done.get("msg")) == bool(complaint), done
    assert host.run("pgrep --full 'sleep 61[.]25'").rc != 0


def test_he_sees_what_is_live(app: Unrooted) -> None:
    done = app.run("status", *AS_DEPLOYER, app_status_format="details")
    assert done.returncode == 0, done.stdout
    assert f"running   {app.current()}" in done.stdout
    assert "0.0.0.0:4910: 0 waiting, backlog 4096" in done.stdout


def test_he_removes_old_releases(host: Host, app: Unrooted) -> None:
    host.check_output("cp --archive /srv/unrooted/releases/first /srv/unrooted/releases/old")
    host.check_output('sed -i \'s/"id": "first"/"id": "old"/; s/20[0-9][0-9]-/2001-/\' /srv/unrooted/releases/old/.release.json')
    done = module("release_prune", host, {"path": app.folder, "keep": 1}, *AS_DEPLOYER)
    assert "old" in done["removed"], done
    assert not host.file("/srv/unrooted/releases/old").exists
    assert "cannot be deleted" not in done["warnings"]


def test_root_deploys_too_and_all_stays_his(host: Host, app: Unrooted) -> None:
    done = app.run("deploy", app_release_id="by-root", app_keep_releases=5)
    assert done.returncode == 0, done.stdout
    assert app.answers() == "by-root"
    assert owners(host, "/srv/unrooted/releases", "/srv/unrooted/.deploy", "/srv/unrooted/current") == {DEPLOYER}
    assert app.switched(release="first")["changed"]
    assert app.answers() == "first"
