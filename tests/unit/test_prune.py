# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases nothing speaks for any more."""

from __future__ import annotations

import datetime
import json
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _history
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import MANIFEST, Releases, now
from ansible_collections.holdfast.systemd.plugins.modules.release_prune import surplus
from hypothesis import given, settings
from hypothesis import strategies as st


def days_ago(days: float) -> str:
    return now(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days))


class App:
    """An app's folder with releases and a history, all of it long ago unless a test says otherwise."""

    def __init__(self, folder: str) -> None:
        self.releases = Releases(folder)
        self.age = 1000.0

    def stage(self, *releases: str, days: float | None = None) -> None:
        for release in releases:
            # Not by `publish`, which forces the whole disk: hundreds of releases are staged here.
            folder = Path(self.releases.path(release))
            folder.mkdir(parents=True)
            (folder / MANIFEST).write_text(json.dumps({"id": release, "checksum": "abc", "staged_at": self._moment(days)}))

    def switch(self, *releases: str, action: str = "deploy", result: str = "ok", days: float | None = None) -> None:
        for release in releases:
            with self.releases.lock(release, who="alice", timeout=0):
                self.releases.finish({"time": self._moment(days), "id": release, "from": self.releases.current(), "action": action, "result": result})
            if result == "ok":
                self.releases.flip(release)

    def deploy(self, *releases: str) -> None:
        for release in releases:
            self.stage(release)
            self.switch(release)

    def begin(self, release: str, origin: str | None) -> None:
        """Leaves the note of a switch that has not ended."""
        with self.releases.lock(release, who="alice", timeout=0):
            self.releases.begin({"time": self._moment(None), "id": release, "from": origin, "action": "deploy"})

    def surplus(self, *, keep: int = 1, keep_days: float = 0, protect: t.Collection[str] = ()) -> list[str]:
        return surplus(self.releases, keep=keep, keep_days=keep_days, protect=protect)

    def _moment(self, days: float | None) -> str:
        self.age -= 1
        return days_ago(self.age if days is None else days)


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(str(tmp_path))


def test_before_the_first_release_there_is_nothing_to_remove(app: App) -> None:
    assert app.surplus() == []


def test_the_oldest_releases_go_first(app: App) -> None:
    app.deploy("d", "c", "b", "a")
    assert app.surplus(keep=3) == ["d"]
    assert app.surplus(keep=2) == ["d", "c"]


def test_no_limit_removes_nothing(app: App) -> None:
    app.deploy("1", "2", "3", "4")
    assert app.surplus(keep=0) == []


def test_the_live_release_and_the_way_back_stay_however_few_are_kept(app: App) -> None:
    app.deploy("1", "2", "3")
    assert app.surplus(keep=1) == ["1"]


def test_an_old_release_that_was_deployed_again_counts_as_new(app: App) -> None:
    app.deploy("1", "2", "3")
    app.switch("1")
    assert app.surplus(keep=2) == ["2"]


def test_after_a_rollback_the_live_release_stays_though_it_is_the_oldest(app: App) -> None:
    app.deploy("1", "2", "3")
    app.switch("2", "1", action="rollback")
    app.stage("4", "5", days=0)
    assert "1" not in app.surplus(keep=2)


def test_after_a_rollback_both_ways_from_it_stay(app: App) -> None:
    app.deploy("1", "2", "3", "4")
    app.switch("3", action="rollback")
    # Another rollback goes to 2, and a 3 that can no longer be live is replaced by 4.
    assert app.surplus(keep=1) == ["1"]


def test_the_last_good_release_stays_behind_releases_that_failed(app: App) -> None:
    app.deploy("1", "2")
    app.stage("3", "4", "5")
    app.switch("3", "4", "5", result="failed")
    assert app.surplus(keep=1) == ["3", "4"]


def test_what_somebody_switches_to_and_from_stays(app: App) -> None:
    app.deploy("1", "2", "3", "4", "5")
    app.begin("1", "2")
    assert app.surplus(keep=1) == ["3"]


def test_what_is_protected_stays(app: App) -> None:
    app.deploy("1", "2", "3", "4")
    assert app.surplus(keep=1, protect=["1"]) == ["2"]


def test_what_was_staged_within_the_last_day_may_still_be_switched_to(app: App) -> None:
    app.stage("old", days=1.1)
    app.stage("fresh", days=0.9)
    app.deploy("1", "2")
    app.switch("2", days=0)
    assert app.surplus(keep=1) == ["old"]


def test_what_failed_today_is_no_longer_waited_for(app: App) -> None:
    app.deploy("1", "2")
    app.stage("3", days=0.5)
    app.switch("3", result="failed", days=0.4)
    app.stage("4", days=0.3)
    app.switch("4", days=0.2)
    assert app.surplus(keep=1) == ["1", "3"]


def test_what_was_live_or_staged_within_some_days_stays(app: App) -> None:
    app.stage("1", "2", days=30)
    app.switch("1", days=20)
    app.switch("2", days=5)
    app.stage("3", days=4)
    app.deploy("4", "5")
    app.switch("4", "5", days=0)
    assert app.surplus(keep=1, keep_days=10) == ["1"]
    assert app.surplus(keep=1, keep_days=25) == []


@pytest.mark.parametrize("keep_days", [500_000, 1_000_000])
def test_a_number_of_days_that_means_forever_keeps_everything(app: App, keep_days: float) -> None:
    app.deploy("1", "2", "3", "4")
    assert app.surplus(keep=1, keep_days=keep_days) == []


def test_what_the_clock_of_a_file_says_plays_no_role(app: App) -> None:
    app.deploy("1", "2", "3", "4")
    for moment, release in enumerate(("4", "3", "2", "1")):
        os.utime(app.releases.path(release), (moment, moment))
        os.utime(os.path.join(app.releases.path(release), MANIFEST), (moment, moment))
    assert app.surplus(keep=3) == ["1"]


RELEASES = [str(number) for number in range(6)]
SWITCHES = st.lists(
    st.tuples(st.sampled_from(RELEASES), st.sampled_from(["deploy", "deploy", "rollback", "restart"]), st.sampled_from(["ok", "ok", "failed", "interrupted"])),
    max_size=10,
)
DAYS = st.sampled_from([0.0, 0.5, 3.0, 50.0])


@settings(max_examples=50)
@given(
    ages=st.dictionaries(st.sampled_from(RELEASES), st.sampled_from([0.5, 2.0, 100.0])),
    switches=SWITCHES,
    pending=st.none() | st.tuples(st.sampled_from(RELEASES), st.none() | st.sampled_from(RELEASES)),
    keep=st.integers(0, 4),
    keep_days=DAYS,
    protect=st.lists(st.sampled_from(RELEASES), max_size=2),
)
def test_what_is_needed_is_never_surplus(
    *,
    ages: dict[str, float],
    switches: list[tuple[str, str, str]],
    pending: tuple[str, str | None] | None,
    keep: int,
    keep_days: float,
    protect: list[str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = App(folder)
        for release, age in ages.items():
            app.stage(release, days=age)
        for release, action, result in switches:
            app.switch(release, action=action, result=result)
        if pending:
            app.begin(*pending)
        found = app.surplus(keep=keep, keep_days=keep_days, protect=protect)
        history, current = app.releases.history(), app.releases.current()
        needed = {
            current,
            *(pending or ()),
            _history.previous(history, current=current, usable=ages.__contains__),
            _history.last_good(history, release=current or "", usable=ages.__contains__),
            *protect,
            *(release for release, age in ages.items() if age < keep_days),
            *(release for release, age in ages.items() if age < 1 and release not in {record["id"] for record in history}),
        }
        assert not needed & set(found)
        assert set(found) <= set(ages)
        assert len(ages) - len(found) >= (min(keep, len(ages)) if keep else len(ages))
