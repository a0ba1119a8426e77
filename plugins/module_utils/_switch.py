# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch as a list of steps, and the way back from each of them. Private to the collection.

Everything here is pure: the plan that check mode shows is the plan that release_switch carries out.
"""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Step:
    """One action of a switch: a verb that release_switch knows, and the release it is about.

    flip     point `current` to the release; without one, take the link away
    restart  restart the service, which then runs what `current` points to
    prove    wait until the release is ready and healthy
    stop     stop the service, because there is nothing that it could run
    """

    verb: str
    release: str = ""

    def __str__(self) -> str:
        if self.verb == "flip":
            return f"point current to {self.release}" if self.release else "take the link current away"
        return {
            "restart": "restart the service while its socket holds the port",
            "prove": f"wait until {self.release} is ready and healthy",
            "stop": "stop the service",
        }[self.verb]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The way forward, and for each step the steps that lead back once it has begun."""

    forward: t.Sequence[Step]
    backward: t.Mapping[str, t.Sequence[Step]]

    def undo(self, begun: t.Sequence[Step]) -> list[Step]:
        """The way back from a switch of which these steps have begun.

        It runs in the order of the way forward: the link must be back before the service restarts.
        """
        return [step for done in begun for step in self.backward.get(done.verb, ())]


def plan_restart(*, release: str, current: str | None, previous: str | None) -> Plan:
    """Plans the restart strategy: flip, restart behind the held socket, prove.

    `current` is what the link says now; `previous` is the release to go back to, if there is one.
    """
    flip = [Step("flip", release)] if current != release else []
    forward = [*flip, Step("restart", release), Step("prove", release)]
    if previous:
        return Plan(forward, {"flip": [Step("flip", previous)], "restart": [Step("restart", previous), Step("prove", previous)]})
    if current is None:
        # A first deploy that fails leaves the host as it was: nothing runs and nothing is linked.
        return Plan(forward, {"flip": [Step("flip")], "restart": [Step("stop")]})
    return Plan(forward, {})
