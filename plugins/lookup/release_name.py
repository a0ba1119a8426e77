# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: release_name
version_added: 1.0.0
short_description: An id for a release that has none, the same for all hosts of a run
author: The holdfast.systemd developers (@holdfast)
description:
  - The UTC time at which the first host of a run of Ansible asked. All other hosts are told the same, in whatever batch they are and
    whatever strategy decides when it is their turn.
  - Whoever names the id that was given before is told the next one, which is the same for all hosts again.
options:
  _terms:
    description: The id that was given before, if there was one.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Say how the next release would be called
  ansible.builtin.debug:
    msg: "{{ lookup('holdfast.systemd.release_name') }}"
"""

RETURN = r"""
_raw:
  description: The id.
  type: list
  elements: str
  sample: [20261121T100500Z]
"""

import contextlib
import datetime
import hashlib
import os
import typing as t

from ansible import constants
from ansible.plugins.lookup import LookupBase


def name_after(before: str, folder: str, moment: datetime.datetime) -> str:
    """The id that follows this one: what was kept in the folder for it, or this moment, which then is kept there."""
    # The next one may come within the same second.
    wanted = moment.strftime("%Y%m%dT%H%M%S.%fZ" if before else "%Y%m%dT%H%M%SZ")
    kept = os.path.join(folder, "release-after-" + hashlib.sha256(before.encode()).hexdigest()[:16])
    own = f"{kept}.{os.getpid()}"
    with open(own, "w", encoding="ascii") as stream:
        stream.write(wanted)
    # Of several hosts that ask at the same time one is first, and the file is whole once it has its name.
    with contextlib.suppress(FileExistsError):
        os.link(own, kept)
    os.unlink(own)
    with open(kept, encoding="ascii") as stream:
        return stream.read()


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        folder = constants.DEFAULT_LOCAL_TMP  # type: ignore[attr-defined]  # made at run time
        return [name_after(str(terms[0]) if terms else "", folder, datetime.datetime.now(datetime.timezone.utc))]
