# SPDX-License-Identifier: GPL-3.0-or-later
"""The way forward, and the way back from each of its steps."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._switch import TOUCHES, Plan, Step, plan
from hypothesis import given
from hypothesis import strategies as st


def words(steps: t.Sequence[Step]) -> list[str]:
    return [f"{step.verb} {step.release}".strip() for step in steps]


def undo(way: Plan, verb: str) -> list[str]:
    """The way back when this step of the way forward has failed."""
    begun = list(way.forward)[: [step.verb for step in way.forward].index(verb) + 1]
    return words(way.undo(begun))


def test_restart_flips_restarts_and_proves() -> None:
    way = plan("restart", release="2", current="1", previous="1")
    assert words(way.forward) == ["flip 2", "backlog", "restart 2", "prove 2"]


def test_an_app_that_holds_its_port_itself_has_no_backlog_to_put_back() -> None:
    way = plan("restart", release="2", current="1", previous="1", held=False)
    assert words(way.forward) == ["flip 2", "restart-unheld 2", "prove 2"]
    assert undo(way, "restart-unheld") == undo(way, "prove") == ["flip 1", "restart-unheld 1", "prove 1"]
    assert "closes it meanwhile" in str(way.forward[1])


def test_what_is_linked_already_is_not_flipped() -> None:
    assert words(plan("restart", release="2", current="2", previous="1").forward) == ["backlog", "restart 2", "prove 2"]


def test_reload_flips_reloads_and_proves() -> None:
    way = plan("reload", release="2", current="1", previous="1")
    assert words(way.forward) == ["flip 2", "reload 2", "prove 2"]
    assert undo(way, "prove") == ["flip 1", "reload 1", "prove 1"]


def test_overlap_serves_from_a_stand_in_while_the_service_restarts() -> None:
    way = plan("overlap", release="2", current="1", previous="1", before=True, after=True)
    assert words(way.forward) == ["before 2", "stand-in 2", "flip 2", "backlog", "restart 2", "prove 2", "dismiss 2", "after 2"]


@pytest.mark.parametrize("strategy", ["reload", "overlap"])
def test_what_does_not_run_is_started_whatever_the_strategy(strategy: str) -> None:
    assert words(plan(strategy, release="2", current="1", previous="1", running=False).forward) == ["flip 2", "backlog", "restart 2", "prove 2"]


def test_a_command_that_fails_beforehand_has_touched_nothing() -> None:
    way = plan("restart", release="2", current="1", previous="1", before=True)
    assert undo(way, "before") == []


@pytest.mark.parametrize("verb", ["restart", "prove", "after"])
def test_the_link_is_back_before_the_service_restarts(verb: str) -> None:
    way = plan("restart", release="2", current="1", previous="1", after=True)
    assert undo(way, "flip") == ["flip 1"]
    assert undo(way, verb) == ["flip 1", "backlog", "restart 1", "prove 1"]


def test_a_release_that_never_gets_ready_has_touched_nothing() -> None:
    way = plan("overlap", release="2", current="1", previous="1")
    assert undo(way, "stand-in") == ["dismiss 2"]
    assert undo(way, "flip") == ["flip 1", "dismiss 2"]


@pytest.mark.parametrize("verb", ["restart", "prove", "after"])
def test_somebody_serves_at_every_moment_of_the_way_back(verb: str) -> None:
    way = plan("overlap", release="2", current="1", previous="1", after=True)
    assert undo(way, verb) == ["stand-in 1", "dismiss 2", "flip 1", "backlog", "restart 1", "prove 1", "dismiss 1"]


@pytest.mark.parametrize("strategy", ["restart", "reload", "overlap"])
def test_a_first_deploy_that_fails_leaves_nothing_linked_and_nothing_running(strategy: str) -> None:
    way = plan(strategy, release="1", current=None, previous=None, running=False)
    assert undo(way, "prove") == ["unlink", "stop"]


def test_a_live_release_with_nothing_before_it_is_never_unlinked() -> None:
    way = plan("restart", release="1", current="1", previous=None)
    assert undo(way, "prove") == []


@pytest.mark.parametrize("current", [None, "1"])
def test_without_going_back_the_release_stays(current: str | None) -> None:
    way = plan("restart", release="2", current=current, previous=current, go_back=False)
    assert undo(way, "prove") == []


@pytest.mark.parametrize("verb", ["flip", "restart", "prove"])
def test_what_stays_as_it_is_keeps_its_stand_in(verb: str) -> None:
    way = plan("overlap", release="2", current="1", previous="1", go_back=False)
    assert undo(way, "stand-in") == ["dismiss 2"]
    assert undo(way, verb) == []


@given(
    strategy=st.sampled_from(["restart", "reload", "overlap"]),
    current=st.sampled_from([None, "1", "2"]),
    previous=st.sampled_from([None, "1"]),
    running=st.booleans(),
    held=st.booleans(),
    go_back=st.booleans(),
    before=st.booleans(),
    after=st.booleans(),
)
def test_every_way_is_whole(strategy: str, current: str | None, previous: str | None, **rest: bool) -> None:
    way = plan(strategy, release="2", current=current, previous=previous, **rest)
    assert any(step.verb in TOUCHES for step in way.forward)
    for number in range(len(way.forward) + 1):
        back = way.undo(way.forward[:number])
        assert all(str(step) for step in [*way.forward, *back])
        # Whoever goes back to a release proves it, and no stand-in of the bad one is left.
        if any(step.verb in TOUCHES for step in back):
            assert Step("prove", previous or "") in back
        if back and Step("stand-in", "2") in way.forward[:number]:
            assert Step("dismiss", "2") in back
