# SPDX-License-Identifier: GPL-3.0-or-later
"""The app's folder: a release is complete or not there, and the link and the lock never lie."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(str(tmp_path))


def stage(releases: Releases, release: str, staged_at: str = "2026-01-01T00:00:00Z") -> None:
    with releases.staging(release) as folder:
        Path(folder, "file").write_text(release)
        releases.publish(folder, {"id": release, "checksum": "abc", "staged_at": staged_at})


@pytest.mark.parametrize("release", ["../x", "", ".hidden", "a/b", "a b", "a\n", "é", "x" * 65, "-x", "1+1"])
def test_an_id_that_could_leave_the_folder_is_refused(releases: Releases, release: str) -> None:
    with pytest.raises(ReleaseError, match="app_release_id"):
        releases.path(release)


def test_a_release_is_there_once_it_is_published(releases: Releases) -> None:
    with releases.staging("1") as folder:
        assert releases.all() == []
        releases.publish(folder, {"id": "1", "checksum": "abc", "staged_at": "2026"})
    assert [manifest["id"] for manifest in releases.all()] == ["1"]


def test_a_staging_that_fails_leaves_nothing(releases: Releases) -> None:
    with pytest.raises(RuntimeError), releases.staging("1"):
        raise RuntimeError
    assert os.listdir(releases.releases) == []


def test_an_orphaned_staging_is_removed_and_a_busy_one_is_not(releases: Releases) -> None:
    orphan = Path(releases.releases, ".staging-1-dead")
    orphan.mkdir(parents=True)
    with releases.staging("2") as busy:
        releases.discard_orphans()
        assert os.path.isdir(busy)
    assert not orphan.exists()


def test_a_folder_that_nobody_staged_is_neither_a_release_nor_replaced(releases: Releases) -> None:
    foreign = Path(releases.releases, "1")
    foreign.mkdir(parents=True)
    (foreign / "file").write_text("precious")
    assert releases.all() == []
    with pytest.raises(ReleaseError, match="was not staged"):
        stage(releases, "1")
    assert (foreign / "file").read_text() == "precious"


def test_releases_are_listed_in_the_order_of_their_staging(releases: Releases) -> None:
    stage(releases, "b", "2026-01-01T00:00:00Z")
    stage(releases, "a", "2026-01-02T00:00:00Z")
    os.utime(releases.path("b"))
    assert [manifest["id"] for manifest in releases.all()] == ["b", "a"]


def test_flip_moves_the_link_and_takes_it_away(releases: Releases) -> None:
    stage(releases, "1")
    stage(releases, "2")
    assert releases.current() is None
    releases.flip("1")
    releases.flip("2")
    assert releases.current() == "2"
    assert os.path.realpath(releases.current_link) == os.path.realpath(releases.path("2"))
    releases.flip(None)
    assert releases.current() is None


def test_the_link_is_never_missing_during_a_flip(releases: Releases) -> None:
    stage(releases, "1")
    stage(releases, "2")
    releases.flip("1")
    reader = multiprocessing.get_context("fork").Process(target=read_link_until_lost, args=(releases.current_link,))
    reader.start()
    for _round in range(300):
        releases.flip("2")
        releases.flip("1")
    assert reader.is_alive()
    reader.terminate()
    reader.join()


def read_link_until_lost(link: str) -> None:
    while True:
        os.readlink(link)


@pytest.mark.parametrize("target", ["/etc", "releases", "releases/1/sub", "../elsewhere/releases/1"])
def test_a_link_to_something_else_is_named_and_not_touched(releases: Releases, target: str) -> None:
    os.symlink(target, releases.current_link)
    with pytest.raises(ReleaseError, match="points to"):
        releases.current()


def test_a_folder_in_place_of_the_link_is_named(releases: Releases) -> None:
    os.mkdir(releases.current_link)
    with pytest.raises(ReleaseError, match="not a symbolic link"):
        releases.current()


def hold(folder: str, held: t.Any, let_go: t.Any) -> None:
    with Releases(folder).lock("holder", who="alice", timeout=0):
        held.set()
        let_go.wait(30)


@pytest.mark.parametrize("name", ["lock", "history.jsonl"])
def test_nothing_is_written_through_a_link_that_a_former_owner_has_left(releases: Releases, tmp_path: Path, name: str) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / "precious").write_text("1\n")
    (tmp_path / ".deploy" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=name), releases.lock("1", who="", timeout=1):  # noqa: PT012
        releases.begin({"id": "1"})
        releases.finish({"id": "1"})
    assert (tmp_path / "precious").read_text() == "1\n"


def test_a_second_deploy_is_told_who_holds_the_lock_and_gets_it_when_the_holder_dies(releases: Releases) -> None:
    context = multiprocessing.get_context("fork")
    held, let_go = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(releases.folder, held, let_go))
    holder.start()
    assert held.wait(10)
    with pytest.raises(ReleaseError, match=rf"release holder by alice \(PID {holder.pid}\) since 20"), releases.lock("mine", who="bob", timeout=0.2):
        pass
    holder.kill()
    holder.join()
    with releases.lock("mine", who="bob", timeout=0):
        pass


def test_the_history_remembers_and_forgets_what_was_pending(releases: Releases) -> None:
    with releases.lock("1", who="alice", timeout=0):
        releases.begin({"id": "1", "time": "now"})
        assert releases.pending() == {"id": "1", "time": "now"}
        releases.finish({"id": "1", "time": "now", "result": "ok"})
    assert releases.pending() is None
    assert releases.history() == [{"id": "1", "time": "now", "result": "ok"}]


def test_a_note_whose_switch_is_in_the_history_is_not_pending(releases: Releases) -> None:
    with releases.lock("1", who="alice", timeout=0):
        releases.finish({"id": "1", "time": "now", "result": "ok"})
        releases.begin({"id": "1", "time": "now"})
    assert releases.pending() is None


def test_a_history_whose_last_line_was_cut_off_can_be_read(releases: Releases) -> None:
    with releases.lock("1", who="alice", timeout=0):
        releases.finish({"id": "1", "time": "now", "result": "ok"})
    with open(os.path.join(releases.folder, ".deploy", "history.jsonl"), "a") as stream:
        stream.write('{"id": "2"')
    assert [record["id"] for record in releases.history()] == ["1"]
    releases.finish({"id": "3", "time": "later", "result": "ok"})
    assert [record["id"] for record in releases.history()] == ["1", "3"]


# Removal


def hidden(releases: Releases) -> list[str]:
    return [name for name in os.listdir(releases.releases) if name.startswith(".")]


def test_a_release_is_gone_from_the_moment_it_is_hidden(releases: Releases) -> None:
    stage(releases, "1")
    stage(releases, "2")
    releases.hide("1")
    assert [manifest["id"] for manifest in releases.all()] == ["2"]
    assert releases.manifest("1") is None
    assert len(hidden(releases)) == 1


def test_what_is_hidden_can_be_deleted_and_staged_again(releases: Releases) -> None:
    stage(releases, "1")
    releases.hide("1")
    stage(releases, "1")
    assert releases.discard_hidden() == []
    assert os.listdir(releases.releases) == ["1"]


def test_a_removal_that_died_is_finished_by_the_next(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(releases, "1")
    releases.hide("1")

    def die(_folder: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            releases.discard_hidden()
    assert releases.all() == []
    assert Releases(releases.folder).discard_hidden() == []
    assert hidden(releases) == []


def test_what_cannot_be_deleted_is_told_and_keeps_nothing_else_from_going(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    for release in ("1", "2", "3"):
        stage(releases, release)
        releases.hide(release)
    rmtree = shutil.rmtree

    def refuse_one(folder: str) -> None:
        if ".removed-2-" in folder:
            raise PermissionError(1, "Operation not permitted", folder)
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", refuse_one)
    (trouble,) = releases.discard_hidden()
    (left,) = hidden(releases)
    assert trouble == f"{releases.releases}/{left}: Operation not permitted"
    assert left.startswith(".removed-2-")


def test_without_releases_there_is_nothing_to_discard(releases: Releases) -> None:
    assert releases.discard_hidden() == []
    releases.discard_orphans()
    assert os.listdir(releases.folder) == []


# What runs that died have left behind


def test_an_archive_that_nobody_brought_to_its_end_is_removed_after_a_day(tmp_path: Path) -> None:
    # The name of a folder is no pattern, whatever it looks like.
    releases = Releases(str(tmp_path / "[shop]"))
    os.mkdir(releases.folder)
    old, fresh, foreign = (Path(releases.folder, name) for name in (".incoming-old", ".incoming-fresh", "incoming-foreign"))
    for path, hours in ((old, 25), (fresh, 23), (foreign, 25)):
        path.write_text("half an archive")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    releases.discard_orphans()
    assert sorted(os.listdir(releases.folder)) == [".incoming-fresh", "incoming-foreign"]


def test_half_a_flip_does_not_stand_in_the_way_of_the_next(releases: Releases) -> None:
    stage(releases, "1")
    stage(releases, "2")
    os.symlink("releases/1", os.path.join(releases.folder, ".current"))
    releases.flip("2")
    assert releases.current() == "2"
    assert sorted(os.listdir(releases.folder)) == ["current", "releases"]


def test_half_a_note_is_removed_by_the_next_switch_and_nothing_else_is(releases: Releases) -> None:
    with releases.lock("1", who="alice", timeout=0):
        releases.finish({"id": "1", "time": "now", "result": "ok"})
        Path(releases.folder, ".deploy", ".pending.json.abc123").write_text('{"id": "2", "ti')
        assert releases.pending() is None
        releases.begin({"id": "2", "time": "later"})
    assert sorted(os.listdir(os.path.join(releases.folder, ".deploy"))) == ["history.jsonl", "lock", "pending.json"]
    assert releases.pending() == {"id": "2", "time": "later"}
    assert [record["id"] for record in releases.history()] == ["1"]
