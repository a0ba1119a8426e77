# SPDX-License-Identifier: GPL-3.0-or-later
"""A release can come from anywhere; it is the same release afterwards, and what is wrong with it is said before it counts."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import typing as t

import pytest

from releases.app import FOLDER, SAVED
from versions import OLDEST

if t.TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

    from releases.app import App, Run

usual_hosts = [OLDEST]

WEB = "http://127.0.0.1:4901"
NO_SUCH_SUM = "0" * 64
ARCHIVES = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")
GIT_REFS = ("branch", "tag", "commit")
KINDS = (*ARCHIVES, "top-folder", "folder", *GIT_REFS, "remote-file", "remote-folder", "url", "url-with-checksum")
# Each format is unpacked in the same way, so one stands for all where it is about the way to the host.
WAYS = ("tar.gz", "folder", "branch", "remote-file", "remote-folder", "url", "url-with-checksum")

Sources = dict[str, dict[str, t.Any]]


def checksum(path: str | Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def zstd(content: bytes) -> bytes:
    """What zstd makes of something that it cannot compress, so that no program needs to be there to make it."""
    blocks = [content[start : start + (1 << 17)] for start in range(0, len(content), 1 << 17)]
    frame = b"\x28\xb5\x2f\xfd\xe0" + len(content).to_bytes(8, "little")
    for number, block in enumerate(blocks, start=1):
        frame += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return frame


def packed(content: Path, kind: str) -> Path:
    """An archive of a folder; its top folder is kept in `top-folder`."""
    path = content.parent / f"{content.name}.{kind}"
    if kind == "zip":
        shutil.make_archive(str(content), "zip", content)
    else:
        compression = kind.rpartition(".")[2] if "." in kind else ""
        with tarfile.open(path, f"w:{compression}") as archive:
            archive.add(content, arcname=content.name if kind == "top-folder" else ".")
    return path


def repository(content: Path) -> tuple[Path, str]:
    """A git repository with a commit, a tag and a branch that say what they are, and the id of the commit."""
    folder = content.parent / f"{content.name}.git"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(content, folder)
    nobody = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, env={**os.environ, **nobody}, check=True, capture_output=True, text=True).stdout.strip()

    def commit(name: str) -> str:
        (folder / "made-as").write_text(f"{content.name} {name}")
        git("add", "--all")
        git("commit", "--quiet", "--message", name)
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    wanted = commit("commit")
    commit("tag")
    git("tag", "v1")
    git("checkout", "--quiet", "-b", "stable")
    commit("branch")
    git("checkout", "--quiet", "-b", "later")
    commit("HEAD")
    return folder, wanted


def sources_of(app: App, name: str) -> Sources:
    """The same content from everywhere; the releases' ids say from where."""
    content = app.content(name)
    (content / "made-as").write_text(name)
    archives = {kind: packed(content, kind) for kind in (*ARCHIVES, "top-folder")}
    (content.parent / f"{name}.tar.zst").write_bytes(zstd(archives["tar"].read_bytes()))
    git, commit = repository(content)
    remote = f"{SAVED}/remote"
    app.copy([archives["tar.gz"], content], remote)
    url = {"app_release_src": f"{WEB}/{name}.tar.gz"}
    from_git = {"app_release_src": f"git+file://{git}"}
    return {
        **{kind: {"app_release_src": str(archives[kind])} for kind in ARCHIVES},
        "top-folder": {"app_release_src": str(archives["top-folder"]), "app_release_strip_components": 1},
        "folder": {"app_release_src": str(content)},
        "branch": {**from_git, "app_release_git_ref": "stable"},
        "tag": {**from_git, "app_release_git_ref": "v1"},
        "commit": {**from_git, "app_release_git_ref": commit},
        "remote-file": {"app_release_src": f"{remote}/{name}.tar.gz", "app_release_remote_src": True},
        "remote-folder": {"app_release_src": f"{remote}/{name}", "app_release_remote_src": True},
        "url": url,
        "url-with-checksum": {**url, "app_release_checksum": checksum(archives["tar.gz"])},
    }


@pytest.fixture(scope="module")
def sources(app: App) -> t.Iterator[tuple[Sources, Sources]]:
    """Two contents from everywhere, and a web server that has them."""
    both = sources_of(app, "one"), sources_of(app, "two")
    with app.beside("-m", "http.server", "--bind", "127.0.0.1", "--directory", f"{SAVED}/remote", "4901"):
        app.host.check_output("timeout 10 sh -c 'until ss --no-header --listening --tcp --numeric | grep -q :4901; do sleep 0.1; done'")
        yield both


@pytest.fixture(scope="module")
def deployed(app: App, sources: tuple[Sources, Sources]) -> Run:
    run = app.play("deploy", sources[0])
    assert run.succeeded, run.output
    return run


@pytest.fixture(scope="module")
def staged_later(app: App, sources: tuple[Sources, Sources], deployed: Run) -> Run:
    """Other content under the ids that are there, archives that are not what they should be, and one that not every host can read."""
    one, two = sources
    wrong = {"app_release_checksum": NO_SUCH_SUM}
    strange = {
        "file-with-wrong-checksum": {**one["tar.gz"], **wrong},
        "url-with-wrong-checksum": {**one["url"], **wrong},
        "tar.zst": {"app_release_src": str(app.scratch / "one.tar.zst")},
    }
    before = app.process, app.live
    run = app.play("stage", {**{way: two[way] for way in WAYS}, **strange})
    assert (app.process, app.live) == before
    return run


@pytest.fixture(scope="module")
def checked(app: App, sources: tuple[Sources, Sources], deployed: Run) -> Run:
    good = {f"good-{kind}": sources[0][kind] for kind in ("tar.gz", "folder", "branch", "remote-file", "url")}
    bad = {
        "bad-url": {"app_release_src": f"{WEB}/missing.tar.gz"},
        "bad-path": {"app_release_src": "/nonexistent.tar.gz"},
        "bad-remote-path": {"app_release_src": "/nonexistent.tar.gz", "app_release_remote_src": True},
    }
    before = app.host.check_output(f"find {FOLDER} | sort")
    run = app.play("stage", {**good, **bad}, "--check")
    assert app.host.check_output(f"find {FOLDER} | sort") == before
    return run


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("kind", KINDS)
def test_a_release_from_there_is_complete_and_was_live(host: Host, app: App, sources: tuple[Sources, Sources], kind: str) -> None:
    release = f"{FOLDER}/releases/{kind}"
    assert host.check_output(f"cat {release}/made-as") == (f"one {kind}" if kind in GIT_REFS else "one")
    assert host.check_output(f"test -x {release}/bin/demo && ls -A {release}").split() == [".release.json", *sorted(os.listdir(app.scratch / "one"))]
    manifest = app.manifest(kind)
    assert manifest["id"] == kind
    if kind in (*ARCHIVES, "top-folder"):
        assert manifest["checksum"] == checksum(sources[0][kind]["app_release_src"])
    # Its health check wants the id in an answer.
    assert [record["result"] for record in app.history if record["id"] == kind] == ["ok"]


@pytest.mark.usefixtures("deployed")
def test_the_last_one_answers(app: App) -> None:
    assert app.live == app.history[-1]["id"]


def test_the_same_again_changes_nothing(app: App, sources: tuple[Sources, Sources], deployed: Run) -> None:
    run = app.play("stage", {way: sources[0][way] for way in WAYS})
    assert run.succeeded, run.output
    assert {way: run.changed(way) for way in WAYS} == dict.fromkeys(WAYS, 0)


@pytest.mark.parametrize("way", WAYS)
def test_other_content_under_the_same_id_is_refused_with_both_checksums(app: App, staged_later: Run, sources: tuple[Sources, Sources], way: str) -> None:
    message = staged_later.failure(way)
    assert f"app_release_id: release {way} is already on this host with other content" in message
    there, given = re.findall("[0-9a-f]{64}", message)
    assert there == app.manifest(way)["checksum"]
    assert given != there
    if way not in ("folder", "branch", "remote-folder"):  # of which there is no archive to compare with
        assert given == checksum(sources[1]["tar.gz"]["app_release_src"])


def test_a_wrong_checksum_is_refused_before_anything_is_copied(host: Host, staged_later: Run, sources: tuple[Sources, Sources]) -> None:
    archive = sources[0]["tar.gz"]["app_release_src"]
    assert f"app_release_checksum: {archive} has the SHA-256 {checksum(archive)}, not {NO_SUCH_SUM}" in staged_later.failure("file-with-wrong-checksum")
    assert "fatal: [file-with-wrong-checksum -> localhost]" in staged_later.output
    assert not host.file(f"{FOLDER}/releases/file-with-wrong-checksum").exists


def test_a_download_with_a_wrong_checksum_is_refused(host: Host, staged_later: Run, sources: tuple[Sources, Sources]) -> None:
    message = staged_later.failure("url-with-wrong-checksum")
    assert f"has the SHA-256 {checksum(sources[0]['tar.gz']['app_release_src'])}, not {NO_SUCH_SUM}" in message
    assert "app_release_checksum: " in message
    assert not host.file(f"{FOLDER}/releases/url-with-wrong-checksum").exists


def test_zstd_is_unpacked_or_the_host_says_what_it_lacks(host: Host, staged_later: Run) -> None:
    release = f"{FOLDER}/releases/tar.zst"
    if host.run("python3 -c 'import compression.zstd' || command -v zstd").succeeded:
        assert host.check_output(f"cat {release}/made-as") == "one"
    else:
        assert "compressed with zstd, which this host lacks; install the package zstd" in staged_later.failure("tar.zst")
        assert not host.file(release).exists


@pytest.mark.parametrize("kind", ["tar.gz", "folder", "branch", "remote-file", "url"])
def test_check_mode_passes_what_is_good(checked: Run, kind: str) -> None:
    assert checked.failure(f"good-{kind}") == ""
    assert checked.changed(f"good-{kind}") > 0


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("bad-url", "404"),
        ("bad-path", "app_release_src: there is no file or folder /nonexistent.tar.gz on the controller"),
        ("bad-remote-path", "app_release_src: /nonexistent.tar.gz does not exist on this host"),
    ],
)
def test_check_mode_finds_what_is_missing(checked: Run, kind: str, complaint: str) -> None:
    assert complaint in checked.failure(kind)


@pytest.mark.usefixtures("staged_later", "checked")
def test_nothing_is_left_of_what_was_brought(host: Host) -> None:
    assert host.check_output(f"find {FOLDER} -name '.incoming-*' -or -name '.staging-*'") == ""
