# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: below
version_added: 1.0.0
short_description: Picks the paths that lead below some folders
author: The holdfast.systemd developers (@holdfast)
description:
  - What is told apart is where a path leads, however it is written. No host is asked, so links are not known.
  - A path that only systemd can expand, because it has specifiers, wildcards, quotes or blanks, could lead anywhere and so is picked too.
options:
  _input:
    description: The paths.
    type: list
    elements: str
    required: true
  _folders:
    description: The folders.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what somebody else may write
  ansible.builtin.debug:
    msg: "{{ ['/run/shop/environment', '/etc/shop/environment'] | holdfast.systemd.below(['/srv/shop', '/run/shop']) }}"
"""

RETURN = r"""
_value:
  description: The paths that lead there, as they were given.
  type: list
  elements: str
"""

import os
import re
import typing as t

PLAIN = re.compile(r"[^\s%*?\[\]\\\"']*\Z")


def below(paths: t.Iterable[t.Any], folders: t.Iterable[str]) -> list[str]:
    """The paths that lead below one of the folders, or that nobody but systemd can read."""
    starts = tuple(_direct(folder).rstrip("/") + "/" for folder in folders)
    return [str(path) for path in paths if not PLAIN.match(str(path)) or _direct(str(path)).startswith(starts)]


def _direct(path: str) -> str:
    """The path without detours, and with the name that /var/run is a link to."""
    return re.sub(r"\A/var/run(?=/)", "/run", os.path.normpath(f"/{path.lstrip('/')}"))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"below": below}
