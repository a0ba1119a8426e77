#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
version_added: 1.0.0
short_description: Removes old releases, and never one that is needed
author: The holdfast.systemd developers (@holdfast)
description:
  - Removes releases by count and by age, counted from when each was last made live, or else staged. No file's time decides anything.
  - Never removes the live release, one that somebody switches to, the one that a rollback would go to, the last one that was good,
    the one that was live before the last switch, one that was staged within the last day and not yet switched to, and those in O(protect).
  - A release is renamed out of sight before it is deleted, so an interrupted removal leaves no half release. The next one deletes the rest.
  - What cannot be removed is a warning and not a failure.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
  - holdfast.systemd._options.app_folder
options:
  keep:
    description: How many releases to keep, the live one among them. 0 keeps all.
    type: int
    default: 5
  keep_days:
    description: Keep also every release that was live or staged within this many days.
    type: float
    default: 0
  protect:
    description: Ids of releases to keep whatever their age.
    type: list
    elements: str
    default: []
seealso:
  - module: holdfast.systemd.release_switch
"""

EXAMPLES = r"""
- name: Keep three releases, and all of the last two weeks
  holdfast.systemd.release_prune:
    path: /srv/shop
    keep: 3
    keep_days: 14
"""

RETURN = r"""
removed:
  description: The ids of the releases that were removed, or would be.
  returned: success
  type: list
  elements: str
kept:
  description: The ids of the releases that are left, or would be, oldest first.
  returned: success
  type: list
  elements: str
"""

import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec, _history
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import lacking
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import LockedError, ReleaseError, Releases, now

FOREVER = 365_000  # days; a year of four digits, which sorts as text


def surplus(releases: Releases, *, keep: int, keep_days: float, protect: t.Collection[str]) -> list[str]:
    """The releases that nothing speaks for, oldest first."""
    history, current = releases.history(), releases.current()
    pending = releases.pending() or {}
    last_live = _history.last_live(history)
    used = {manifest["id"]: max(manifest["staged_at"], last_live.get(manifest["id"], "")) for manifest in releases.all()}
    usable = used.__contains__
    by_use = sorted(used, key=lambda release: (used[release], release))
    needed = {
        current,
        pending.get("id"),
        pending.get("from"),
        _history.previous(history, current=current, usable=usable),
        _history.last_good(history, release=current or "", usable=usable),
        # What was just gone back from is there to be looked at.
        *(record["from"] for record in history[-1:]),
        *protect,
        *(by_use[-keep:] if keep else by_use),
    }
    known = {record["id"] for record in history}
    return [
        release
        for release in by_use
        if release not in needed and not (keep_days and used[release] >= _days_ago(keep_days)) and (release in known or used[release] < _days_ago(1))
    ]


def _days_ago(days: float) -> str:
    return now(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=min(days, FOREVER)))


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            "keep": {"type": "int", "default": 5},
            "keep_days": {"type": "float", "default": 0},
            "protect": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    releases = Releases(module.params["path"])
    rules = {name: module.params[name] for name in ("keep", "keep_days", "protect")}
    removed: list[str] = []
    try:
        if module.params["keep"] < 0 or module.params["keep_days"] < 0:
            raise ReleaseError("app_keep_releases, app_keep_days: give a number that is not negative; 0 sets no limit")
        removed = surplus(releases, **rules)
        if removed and not module.check_mode:
            # Nobody may switch to a release while it goes out of sight, which takes a moment. Deleting it takes
            # longer, and is done after the lock.
            with releases.lock("(prune)", who="release_prune", timeout=1):
                planned, removed = surplus(releases, **rules), []
                for release in planned:
                    releases.hide(release)
                    removed.append(release)
        if not module.check_mode:
            for trouble in releases.discard_hidden():
                module.warn(f"app_keep_releases: an old release was taken out of sight and cannot be deleted: {trouble}")
    except LockedError:
        removed = []  # whoever switches now removes what is old afterwards
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.warn(f"app_keep_releases: old releases were not removed: {lacking(error) if isinstance(error, PermissionError) else error}")
    kept = [manifest["id"] for manifest in releases.all() if manifest["id"] not in removed]
    before = "".join(f"{release}\n" for release in sorted([*kept, *removed]))
    after = "".join(f"{release}\n" for release in sorted(kept))
    headers = {"before_header": releases.releases, "after_header": releases.releases}
    module.exit_json(changed=bool(removed), removed=removed, kept=kept, diff={**headers, "before": before, "after": after})


if __name__ == "__main__":
    main()
