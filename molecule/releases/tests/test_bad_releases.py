# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that cannot be live is refused with its reason, the one before is live again, and no client is refused."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from releases.app import FOLDER, HEALTH_CHECK
from versions import NEWEST

if t.TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

    from releases.app import App

usual_hosts = [NEWEST]


def without_command(content: Path) -> None:
    (content / "bin/demo").unlink()


def not_executable(content: Path) -> None:
    (content / "bin/demo").chmod(0o644)


def for_another_machine(content: Path) -> None:
    """A program for the S/390: the right magic number, 64 bits, big-endian, and nothing behind its header."""
    header = b"\x7fELF\x02\x02\x01".ljust(16, b"\0") + b"\x00\x02\x00\x16\x00\x00\x00\x01"
    (content / "bin/demo").write_bytes(header.ljust(4096, b"\0"))


def program(text: str) -> t.Callable[[Path], None]:
    def write(content: Path) -> None:
        (content / "bin/demo").write_text(text)

    return write


ENDS_AT_ONCE = program("#!/bin/sh\nexit 0\n")
NEEDS_A_FILE = program("#!/usr/bin/python3\nopen('settings.json')\n")
NEEDS_MEMORY = program("#!/usr/bin/python3\nbytearray(4 << 30)\n")

# Stops the journal for a second from when current leads to needs-a-file, which ends before that second does.
SLOW_JOURNAL = f"""
import os, signal, subprocess, time
journal = int(subprocess.check_output(["systemctl", "show", "--value", "--property=MainPID", "systemd-journald"]))
while os.readlink("{FOLDER}/current") != "releases/needs-a-file":
    time.sleep(0.005)
os.kill(journal, signal.SIGSTOP)
time.sleep(1)
os.kill(journal, signal.SIGCONT)
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """How a release is bad, and what is said of it; `seen` is what clients may get from it while it is live."""

    reason: str
    journal: str
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    spoil: t.Callable[[Path], None] = lambda content: None
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    seen: frozenset[str] = frozenset()


CASES = {
    "missing-command": Case("did not start: its main process ended (exit-code, status 127)", "not found", spoil=without_command),
    "not-executable": Case("did not start: its main process ended (exit-code, status 126)", "Permission denied", spoil=not_executable),
    "other-machine": Case("did not start: its main process ended (exit-code, status", "release-test.service: Main process exited", spoil=for_another_machine),
    "exits-0": Case("did not start: its main process ended (protocol, status 0)", "protocol", spoil=ENDS_AT_ONCE),
    "exits-1": Case("did not start: its main process ended (exit-code, status 1)", "demo: this release is broken", {"DEMO_FAULT": "exit-at-start"}),
    "crashes": Case(
        "its main process ended (exit-code, status 1)",
        "Main process exited",
        {"DEMO_FAULT": "crash-after-ready", "DEMO_CRASH_SECONDS": "0.2"},
        # What was in its hands when it crashed is lost.
        seen=frozenset({"lost"}),
    ),
    "never-ready": Case("did not start: it was not ready in time", "timed out", {"DEMO_FAULT": "never-ready"}),
    "answers-500": Case("answered with status 500, not 200", "Stopped release-test", {"DEMO_STATUS": "500"}, seen=frozenset({"500"})),
    "ignores-sigterm": Case(
        "answered with status 500, not 200",
        "Started release-test",
        {"DEMO_STATUS": "500", "DEMO_FAULT": "ignore-sigterm"},
        seen=frozenset({"500", "lost"}),
    ),
    "claims-another-id": Case("answered with the header X-Release: good, not claims-another-id", "Started release-test", {"DEMO_RELEASE": "good"}),
    "claims-the-id-given": Case(
        "answered with the header X-Release: good, not claims-the-id-given",
        "Started release-test",
        {"DEMO_RELEASE": "good"},
        # As it is when the variable is written with app_release_id.
        options={"health_check": {**HEALTH_CHECK, "header": {"X-Release": "claims-the-id-given"}}},
    ),
    "needs-a-file": Case("did not start: its main process ended (exit-code, status 1)", "No such file or directory: 'settings.json'", spoil=NEEDS_A_FILE),
    "needs-memory": Case("did not start: its main process ended (exit-code, status 1)", "MemoryError", spoil=NEEDS_MEMORY),
}


@pytest.fixture(scope="module", autouse=True)
def good(app: App) -> None:
    """A good release that is live, and the bad ones beside it."""
    contents = {name: app.content(name, **case.settings) for name, case in CASES.items()}
    for name, case in CASES.items():
        case.spoil(contents[name])
    app.stage("good", "better", app.content("stubborn", DEMO_FAULT="ignore-sigterm"), *contents.values())
    app.make_live("good")


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_no_client_is(app: App, name: str) -> None:
    case = CASES[name]
    with app.asked_all_the_time() as seen:
        done = app.switch(name, **case.options)
    assert f"Release {name} cannot be live: " in done["msg"]
    assert case.reason in done["msg"]
    assert "Release good is live and healthy again." in done["msg"]
    assert case.journal in "\n".join(done["journal"])
    assert all(line in done["msg"] for line in done["journal"])
    assert (done["release"], done["previous"], done["rolled_back"]) == ("good", "good", True)
    assert app.live == "good"
    record = app.history[-1]
    assert (record["id"], record["from"], record["result"]) == (name, "good", "failed")
    assert case.reason in record["reason"]
    assert len(seen) > 10
    assert set(seen) <= {"200"} | case.seen


def test_its_last_words_are_heard_also_when_the_journal_is_late(app: App, host: Host) -> None:
    words = CASES["needs-a-file"].journal
    host.check_output("systemd-run --quiet --collect python3 -c %s", SLOW_JOURNAL)
    assert words in app.switch("needs-a-file")["msg"]


def test_what_was_refused_is_still_there_to_look_at(host: Host) -> None:
    assert set(CASES) <= set(host.check_output(f"ls {FOLDER}/releases").split())


def test_a_release_that_ignores_sigterm_holds_the_next_one_up_and_no_client_is_refused(app: App) -> None:
    app.make_live("stubborn")
    with app.asked_all_the_time() as seen:
        done = app.switch("better")
    assert (done["release"], app.live) == ("better", "better")
    assert 2 < done["duration"] < 5
    assert len(seen) > 10
    # What was in its hands when it was killed is lost.
    assert set(seen) <= {"200", "lost"}
    assert seen[-1] == "200"
