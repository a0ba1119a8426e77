# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from how the switches of an app ended. Private to the collection.

Everything here is pure: records go in, oldest first, and no clock and no file decides anything.
Reading and writing them belongs to _releases.
A record has at least `id`, `from`, `action` (deploy, rollback or restart) and `result` (ok, failed or interrupted).
"""

from __future__ import annotations

import typing as t

Record = t.Mapping[str, t.Any]


def previous(records: t.Sequence[Record], *, current: str | None, usable: t.Callable[[str], bool]) -> str | None:
    """The release that a rollback goes to: the good one that was live before the current one.

    Each rollback takes one step further back, so two in a row do not end where they began.
    """
    refused = bad(records)
    trail = _live(records)
    if current is not None and current in trail:
        # What was live after it was gone back from when a restart failed, which is no way back.
        _cut_after_the_last(current, trail)
    for release in reversed(trail):
        if release != current and release not in refused and usable(release):
            return release
    return None


def bad(records: t.Iterable[Record]) -> set[str]:
    """The releases that failed when they were last switched to, or that somebody rolled back from since."""
    found: set[str] = set()
    for record in records:
        if record["action"] == "restart":
            continue  # a restart that fails says something of the configuration, not of the release
        if record["result"] == "ok":
            found.discard(record["id"])
            if record["action"] == "rollback" and record["from"] not in (None, record["id"]):
                found.add(record["from"])
        elif record["result"] == "failed":
            found.add(record["id"])
    return found


def last_good(records: t.Sequence[Record], *, release: str, usable: t.Callable[[str], bool]) -> str | None:
    """The release to return to when `release` cannot be live: the last one switched to with success that is not bad."""
    refused = bad(records)
    for settled in (records, [record for record in records if record["action"] != "restart"]):
        # A restart that failed may have been about the configuration: better its release than none.
        judged = {release}
        for record in reversed(settled):
            if record["result"] == "ok" and record["id"] not in judged | refused and usable(record["id"]):
                return str(record["id"])
            if record["result"] != "interrupted":
                judged.add(record["id"])
    return None


def last_live(records: t.Iterable[Record]) -> dict[str, str]:
    """When each release was last made live, by its id."""
    return {record["id"]: record["time"] for record in records if record["result"] == "ok"}


def _live(records: t.Iterable[Record]) -> list[str]:
    """The releases that led to the current one, each once in a row; a rollback takes away what it went back over."""
    trail: list[str] = []
    for record in records:
        release = record["id"]
        if record["result"] != "ok":
            continue
        if record["action"] == "rollback" and release in trail:
            _cut_after_the_last(release, trail)
        elif trail[-1:] != [release]:
            trail.append(release)
    return trail


def _cut_after_the_last(release: str, trail: list[str]) -> None:
    first = len(trail) - trail[::-1].index(release)
    del trail[first:]
