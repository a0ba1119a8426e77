# SPDX-License-Identifier: GPL-3.0-or-later
"""What the history says of a release, and to which one there is a way back."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _history
from hypothesis import given
from hypothesis import strategies as st


def everything(_release: str) -> bool:
    return True


class App:
    """An app whose switches end as a test says, and the history that they leave."""

    def __init__(self, *deployed: str) -> None:
        self.current: str | None = None
        self.records: list[dict[str, t.Any]] = []
        for release in deployed:
            self.switch(release)

    def switch(self, release: str, *, action: str = "deploy", result: str = "ok", usable: t.Callable[[str], bool] = everything) -> None:
        good = _history.last_good(self.records, release=release, usable=usable)
        self.records.append({"time": f"{len(self.records):04}", "id": release, "from": self.current, "action": action, "result": result})
        if result == "ok":
            self.current = release
        elif result == "failed" and good:
            self.current = good

    def previous(self, usable: t.Callable[[str], bool] = everything) -> str | None:
        return _history.previous(self.records, current=self.current, usable=usable)

    def roll_back(self, usable: t.Callable[[str], bool] = everything) -> str | None:
        release = self.previous(usable)
        if release:
            self.switch(release, action="rollback", usable=usable)
        return release

    def last_good(self, release: str, usable: t.Callable[[str], bool] = everything) -> str | None:
        return _history.last_good(self.records, release=release, usable=usable)


# The previous release


def test_before_the_second_deploy_nothing_is_previous() -> None:
    assert App().previous() is None
    assert App("1").previous() is None


def test_the_previous_release_was_live_before_the_current_one() -> None:
    assert App("1", "2", "3").previous() == "2"


def test_each_rollback_goes_one_release_further_back() -> None:
    app = App("1", "2", "3", "4")
    assert [app.roll_back() for _time in range(4)] == ["3", "2", "1", None]


def test_after_an_older_release_was_deployed_again_the_one_before_that_is_previous() -> None:
    assert App("1", "2", "3", "1").previous() == "3"


def test_a_release_that_was_deployed_twice_in_a_row_is_not_its_own_predecessor() -> None:
    assert App("1", "2", "2").previous() == "1"


def test_a_rollback_by_name_takes_away_all_that_it_went_back_over() -> None:
    app = App("1", "2", "3", "4")
    app.switch("2", action="rollback")
    assert app.previous() == "1"


def test_a_release_that_failed_is_never_previous() -> None:
    app = App("1", "2")
    app.switch("3", result="failed")
    assert (app.current, app.previous()) == ("2", "1")


def test_a_release_that_failed_when_it_was_deployed_again_is_passed_over() -> None:
    app = App("1", "2", "3")
    app.switch("2", result="failed")
    assert (app.current, app.previous()) == ("3", "1")


def test_what_was_rolled_back_from_is_not_rolled_back_to() -> None:
    app = App("1", "2", "3")
    app.roll_back()
    app.switch("4")
    assert [app.roll_back(), app.roll_back()] == ["2", "1"]


def test_a_bad_release_is_good_again_once_it_was_deployed_with_success() -> None:
    app = App("1", "2")
    app.roll_back()
    app.switch("2")
    app.switch("3")
    assert app.previous() == "2"


def test_a_release_that_is_gone_is_passed_over() -> None:
    assert App("1", "2", "3").previous(usable=lambda release: release != "2") == "1"
    assert App("1", "2", "3").previous(usable=lambda _release: False) is None


def test_a_rollback_never_goes_forward_to_what_was_left_behind_when_a_restart_failed() -> None:
    app = App("1", "2", "3")
    app.switch("3", action="restart", result="failed")
    assert (app.current, app.previous()) == ("2", "1")


# Good and bad


def test_a_release_is_bad_from_its_failure_until_its_success() -> None:
    app = App("1")
    app.switch("2", result="failed")
    assert _history.bad(app.records) == {"2"}
    app.switch("2")
    assert _history.bad(app.records) == set()


def test_a_release_is_bad_once_somebody_rolled_back_from_it() -> None:
    app = App("1", "2")
    app.roll_back()
    assert _history.bad(app.records) == {"2"}


def test_a_rollback_that_failed_says_nothing_of_where_it_came_from() -> None:
    app = App("1", "2")
    app.switch("1", action="rollback", result="failed")
    assert _history.bad(app.records) == {"1"}


def test_a_rollback_to_the_release_that_is_live_already_does_not_make_it_bad() -> None:
    app = App("1", "2")
    app.switch("2", action="rollback")
    assert _history.bad(app.records) == set()


@pytest.mark.parametrize(("action", "result"), [("deploy", "interrupted"), ("rollback", "interrupted"), ("restart", "failed")])
def test_an_interruption_and_a_failed_restart_say_nothing_of_a_release(action: str, result: str) -> None:
    app = App("1", "2")
    app.switch("2", action=action, result=result)
    assert _history.bad(app.records) == set()


def test_the_last_good_release_is_the_last_one_that_was_live() -> None:
    app = App("1", "2", "3")
    assert app.last_good("4") == "3"
    assert app.last_good("3") == "2"


def test_the_last_good_release_has_not_failed_since() -> None:
    app = App("1", "2", "3")
    app.switch("2", result="failed")
    assert app.last_good("3") == "1"


def test_an_interruption_takes_nothing_from_a_release_that_was_good() -> None:
    app = App("1", "2")
    app.switch("2", result="interrupted")
    assert app.last_good("3") == "2"


def test_the_last_good_release_is_still_there() -> None:
    assert App("1", "2").last_good("3", usable=lambda release: release != "2") == "1"
    assert App().last_good("1") is None


def test_a_failed_restart_does_not_cost_the_live_release_its_place_as_the_way_back() -> None:
    app = App("1")
    app.switch("1", action="restart", result="failed")
    assert app.current == "1"
    assert app.last_good("2") == "1"


def test_a_failed_deploy_returns_to_the_release_that_took_over_when_a_restart_failed() -> None:
    app = App("1", "2")
    app.switch("2", action="restart", result="failed")
    assert app.current == "1"
    assert app.last_good("3") == "1"


def test_each_release_was_last_live_when_it_was_last_switched_to_with_success() -> None:
    app = App("1", "2", "1")
    app.switch("2", result="failed")
    app.switch("3", result="interrupted")
    assert _history.last_live(app.records) == {"1": "0002", "2": "0001"}


# Whatever happens

RELEASES = st.sampled_from("abcde")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("deploy"), RELEASES, st.sampled_from(["ok", "ok", "failed", "interrupted"])),
        st.tuples(st.just("restart"), st.none(), st.sampled_from(["ok", "failed"])),
        st.tuples(st.just("rollback"), st.none(), st.sampled_from(["ok", "failed"])),
    ),
    max_size=25,
)


def after(events: t.Iterable[tuple[str, str | None, str]], usable: t.Callable[[str], bool]) -> App:
    app = App()
    for action, named, result in events:
        release = named or (app.current if action == "restart" else app.previous(usable))
        if release:
            app.switch(release, action=action, result=result, usable=usable)
    return app


@given(EVENTS, st.frozensets(RELEASES))
def test_the_previous_release_was_live_and_is_neither_current_nor_bad_nor_gone(events: list[t.Any], gone: frozenset[str]) -> None:
    app = after(events, lambda release: release not in gone)
    found = app.previous(lambda release: release not in gone)
    if found is not None:
        assert found != app.current
        assert found not in _history.bad(app.records) | gone
        assert found in _history.last_live(app.records)


@given(EVENTS)
def test_rollbacks_in_a_row_visit_no_release_twice_and_come_to_an_end(events: list[t.Any]) -> None:
    app = after(events, everything)
    visited = [app.current]
    while release := app.roll_back():
        assert release not in visited
        visited.append(release)


@given(EVENTS, RELEASES, st.frozensets(RELEASES))
def test_the_last_good_release_was_live_and_is_neither_the_one_in_question_nor_gone(events: list[t.Any], release: str, gone: frozenset[str]) -> None:
    app = after(events, lambda name: name not in gone)
    found = app.last_good(release, lambda name: name not in gone)
    if found is not None:
        assert found not in {release} | gone
        assert found in _history.last_live(app.records)


@given(EVENTS, RELEASES)
def test_what_is_live_and_good_is_what_a_failed_deploy_returns_to(events: list[t.Any], release: str) -> None:
    app = after([event for event in events if event[0] != "restart"], everything)
    last_result = {record["id"]: record["result"] for record in app.records if record["result"] != "interrupted"}
    if app.current != release and last_result.get(app.current or "") == "ok":
        assert app.last_good(release) == app.current
