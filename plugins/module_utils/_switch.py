# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch as a list of steps, and the way back from each of them. Private to the collection.

Everything here is pure: the plan that check mode shows is the plan that release_switch carries out.
How a step is done does not belong here; that is _service and _releases.
"""

from __future__ import annotations

import dataclasses
import functools
import typing as t

# A verb of a step, and how it reads; {} is the release that the step is about.
VERBS = {
    "before": "run app_before_switch in {}",
    "stand-in": "start a stand-in of {} on the held socket and wait until it is ready",
    "flip": "point current to {}",
    "unlink": "take the link current away",
    "backlog": "put the backlog of the sockets back to what their units say",
    "restart": "restart the service while its socket holds the port",
    "restart-unheld": "restart the service, which holds its port itself and so closes it meanwhile",
    "reload": "reload the service",
    "prove": "wait until {} is ready and healthy",
    "dismiss": "stop the stand-in of {}",
    "after": "run app_after_switch in {}",
    "stop": "stop the service",
}

# The verbs that give the service another release to run.
TOUCHES = ("restart", "restart-unheld", "reload")


@dataclasses.dataclass(frozen=True)
class Step:
    """One action of a switch: a verb of VERBS, and the release it is about."""

    verb: str
    release: str = ""

    def __str__(self) -> str:
        return VERBS[self.verb].format(self.release)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The way forward, and by the verbs of some steps the whole way back once that step has begun."""

    forward: t.Sequence[Step]
    backward: t.Mapping[str, t.Sequence[Step]]

    def undo(self, begun: t.Sequence[Step]) -> t.Sequence[Step]:
        """The way back from a switch of which these steps have begun; nothing where nothing was touched."""
        return next((self.backward[step.verb] for step in reversed(begun) if step.verb in self.backward), ())


def plan(
    strategy: str,
    *,
    release: str,
    current: str | None,
    previous: str | None,
    running: bool = True,
    held: bool = True,
    go_back: bool = True,
    before: bool = False,
    after: bool = False,
) -> Plan:
    """Plans a switch to `release` from what the link says now (`current`).

    `previous` is the release to go back to, if there is one. A service that does not run or has no release can be neither reloaded
    nor stood in for, so it is restarted whatever the strategy. Without `go_back` a release that fails stays live.
    `held` says whether socket units hold the ports.
    """
    if not running or current is None:
        strategy = "restart"
    ways: dict[str, t.Callable[..., list[Step]]] = {"restart": functools.partial(_restart, held=held), "reload": _reload, "overlap": _overlap}
    forward = [
        *([Step("before", release)] if before else []),
        *ways[strategy](release, flip=current != release),
        *([Step("after", release)] if after else []),
    ]
    backward: dict[str, t.Sequence[Step]] = {}
    if strategy == "overlap":
        backward["stand-in"] = [Step("dismiss", release)]
    # A stand-in that is left serves on, and ends by itself; to stop it would leave nobody.
    backward.update(dict.fromkeys(("flip", "backlog", *TOUCHES), ()))
    if not go_back:
        return Plan(forward, backward)
    if previous:
        backward["flip"] = [Step("flip", previous), *([Step("dismiss", release)] if strategy == "overlap" else [])]
        touched = ways[strategy](previous, flip=True)
        if strategy == "overlap":
            # The stand-in of the bad release goes once one of the good release serves.
            touched.insert(1, Step("dismiss", release))
    elif current is None:
        # A first deploy that fails leaves the host as it was: nothing runs and nothing is linked.
        backward["flip"] = [Step("unlink")]
        touched = [Step("unlink"), Step("stop")]
    else:
        return Plan(forward, backward)
    for verb in ("backlog", *TOUCHES):
        backward[verb] = touched
    return Plan(forward, backward)


def restart(release: str, *, held: bool) -> list[Step]:
    """The steps that make a service run the release that is linked."""
    return [Step("backlog"), Step("restart", release)] if held else [Step("restart-unheld", release)]


def _restart(release: str, *, flip: bool, held: bool = True) -> list[Step]:
    return [*_flip(release, flip), *restart(release, held=held), Step("prove", release)]


def _reload(release: str, *, flip: bool) -> list[Step]:
    return [*_flip(release, flip), Step("reload", release), Step("prove", release)]


def _overlap(release: str, *, flip: bool) -> list[Step]:
    return [Step("stand-in", release), *_restart(release, flip=flip), Step("dismiss", release)]


def _flip(release: str, wanted: bool) -> list[Step]:
    return [Step("flip", release)] if wanted else []
