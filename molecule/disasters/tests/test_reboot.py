# SPDX-License-Identifier: GPL-3.0-or-later
"""The power is cut at each stage of a switch: the app comes back with what `current` says, and the next deploy needs no help."""

from __future__ import annotations

import typing as t

import pytest

from apps import App, tool

pytestmark = pytest.mark.long

# What the switch is asked, and the sight of the stage in which the power is cut.
STAGES = {
    "before anything": ({"before": [["/bin/sleep", "60"]]}, "pgrep --exact sleep >/dev/null"),
    "flipped, and restarting": ({}, "[ $(readlink {folder}/current) = releases/{goal} ]"),
    "a stand-in serves": ({"strategy": "overlap"}, "systemctl is-active --quiet disaster@{goal}.service"),
    "not yet recorded": ({"after": [["/bin/sleep", "60"]]}, "[ $(readlink {folder}/current) = releases/{goal} ] && pgrep --exact sleep >/dev/null"),
}


@pytest.mark.parametrize(("arguments", "stage"), STAGES.values(), ids=STAGES.keys())
def test_the_app_comes_back(app: App, arguments: dict[str, t.Any], stage: str) -> None:
    origin, switches = app.current(), len(app.history())
    # The next deploy is of a third release: whichever of the two the host comes back with, there is something to switch.
    goal, third = sorted({"one", "two", "three"} - {origin})
    switch = app.begin_switch(release=goal, **arguments)
    app.wait_until(stage.format(folder=app.folder, goal=goal))
    tool("reboot", app.host.backend.get_hostname())
    switch.communicate()
    assert switch.returncode != 0
    assert app.answers() == app.current()
    again = app.begin_switch(release=third)
    told, _nothing = again.communicate()
    assert again.returncode == 0, told
    assert app.answers() == app.current() == third
    # How the first one ended depends on how far it came, and who tells so, it or the next one, on how fast it died. It is told once.
    ended = [(record["id"], record["from"]) for record in app.history()[switches:]]
    assert ended[0] == (goal, origin)
    assert len(ended) == 2
    assert app.history()[-1]["result"] == "ok"
    assert app.host.check_output("systemctl list-units --plain --no-legend 'disaster@*' 'disaster-deploy-*'") == ""
