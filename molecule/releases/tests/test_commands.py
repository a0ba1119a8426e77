# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app does before and after it goes live runs as the app would, and a failure stops the deploy in time."""

from __future__ import annotations

import typing as t

import pytest

from releases.app import AS_THE_APP, FOLDER, NAME
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from releases.app import App

usual_hosts = [NEWEST]

STATE = f"/var/lib/{NAME}"

# Writes down how it sees the world, under the name that is its first argument.
LOOK_AROUND = rf"""#!/bin/sh
name=$1
shift
{{
    echo "program=$0"
    echo "user=$(id -un) $(id -gn)"
    echo "folder=$(pwd -P)"
    echo "live=$(readlink {FOLDER}/current)"
    echo "greeting=$GREETING"
    echo "runtime=$RUNTIME_DIRECTORY $(test -w "$RUNTIME_DIRECTORY" && echo writable)"
    echo "state=$STATE_DIRECTORY"
    printf 'argument=%s\n' "$@"
}} >"$STATE_DIRECTORY/$name"
"""
COMPLAIN = "#!/bin/sh\necho 'the table is locked by somebody else' >&2\nexit 3\n"


@pytest.fixture(scope="module", autouse=True)
def staged(app: App) -> None:
    """A release that is live, and others with programs for a deploy."""
    contents = [app.content(name) for name in ("old", "new", "newer")]
    for content in contents:
        for name, text in (("look-around", LOOK_AROUND), ("complain", COMPLAIN)):
            (content / "bin" / name).write_text(text)
            (content / "bin" / name).chmod(0o755)
    app.stage(*contents)
    app.make_live("old")
    app.save("old")


@pytest.fixture(autouse=True)
def old_is_live(app: App, staged: None) -> None:
    if app.live != "old":
        app.restore("old")


def seen(host: Host, name: str) -> list[tuple[str, str]]:
    lines = host.check_output(f"cat {STATE}/{name}").splitlines()
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def test_commands_run_as_the_app_in_the_new_release_before_and_after_it_is_live(host: Host, app: App) -> None:
    app.make_live("new", before=["bin/look-around before 'two words' $GREETING"], after=[["-bin/look-around", "after", "two words", "$HOME; `id`"]])
    as_the_app = [
        ("program", f"{FOLDER}/releases/new/bin/look-around"),
        ("user", f"{NAME} {NAME}"),
        ("folder", f"{FOLDER}/releases/new"),
    ]
    surroundings = [("greeting", "hello, world"), ("runtime", f"/run/{NAME} writable"), ("state", STATE)]
    assert seen(host, "before") == [
        *as_the_app,
        ("live", "releases/old"),
        *surroundings,
        # As in ExecStart=, a variable that is a word of its own becomes several words.
        *[("argument", word) for word in ("two words", "hello,", "world")],
    ]
    assert seen(host, "after") == [*as_the_app, ("live", "releases/new"), *surroundings, ("argument", "two words"), ("argument", "$HOME; `id`")]


def test_a_command_that_fails_before_the_switch_leaves_the_live_release_untouched(host: Host, app: App) -> None:
    host.check_output(f"{AS_THE_APP} touch /run/{NAME}/kept")
    before = app.process
    done = app.switch("newer", before=["bin/look-around first x", ["bin/complain"], "bin/look-around never x"])
    assert done["rolled_back"]
    assert "app_before_switch failed" in done["msg"]
    assert "the table is locked by somebody else" in done["msg"]
    assert "Nothing was touched" in done["msg"]
    assert app.process == before
    assert app.live == "old"
    assert host.file(f"/run/{NAME}/kept").exists
    assert host.file(f"{STATE}/first").exists
    assert not host.file(f"{STATE}/never").exists
    assert (app.history[-1]["id"], app.history[-1]["result"]) == ("newer", "failed")
    assert host.run(f"ls /run/systemd/system/{NAME}*").stdout == ""


def test_a_command_that_fails_after_the_switch_brings_the_old_release_back(app: App) -> None:
    before = app.process
    done = app.switch("newer", after=["bin/complain"])
    assert done["rolled_back"]
    assert "app_after_switch failed" in done["msg"]
    assert "the table is locked by somebody else" in done["msg"]
    assert "Release old is live and healthy again" in done["msg"]
    assert app.process != before
    assert app.live == "old"
    assert (app.history[-1]["id"], app.history[-1]["result"]) == ("newer", "failed")
    assert "the table is locked" in app.history[-1]["reason"]


def test_a_rollback_and_a_release_that_is_live_run_no_commands(host: Host, app: App) -> None:
    app.make_live("new")
    assert not app.switch("new", before=["bin/complain"], after=["bin/complain"])["changed"]
    app.make_live("old", rollback=True, before=["bin/complain"], after=["bin/complain"])
