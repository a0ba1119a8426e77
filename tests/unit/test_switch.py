# SPDX-License-Identifier: GPL-3.0-or-later
"""The way forward, and the way back from each of its steps."""

from __future__ import annotations

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._switch import Step, plan_restart


def test_a_deploy_flips_restarts_and_proves() -> None:
    plan = plan_restart(release="2", current="1", previous="1")
    assert plan.forward == [Step("flip", "2"), Step("restart", "2"), Step("prove", "2")]


def test_what_is_linked_already_is_not_flipped() -> None:
    assert plan_restart(release="2", current="2", previous="1").forward == [Step("restart", "2"), Step("prove", "2")]


@pytest.mark.parametrize(
    ("begun", "back"),
    [
        (1, [Step("flip", "1")]),
        (2, [Step("flip", "1"), Step("restart", "1"), Step("prove", "1")]),
        (3, [Step("flip", "1"), Step("restart", "1"), Step("prove", "1")]),
    ],
)
def test_the_link_is_back_before_the_service_restarts(begun: int, back: list[Step]) -> None:
    plan = plan_restart(release="2", current="1", previous="1")
    assert plan.undo(plan.forward[:begun]) == back


def test_a_first_deploy_that_fails_leaves_nothing_linked_and_nothing_running() -> None:
    plan = plan_restart(release="1", current=None, previous=None)
    assert plan.undo(plan.forward) == [Step("flip"), Step("stop")]


def test_a_live_release_with_nothing_before_it_is_never_unlinked() -> None:
    plan = plan_restart(release="1", current="1", previous=None)
    assert plan.undo(plan.forward) == []


def test_every_step_can_be_read() -> None:
    plan = plan_restart(release="1", current=None, previous=None)
    assert all(str(step) for step in [*plan.forward, *plan.undo(plan.forward)])
