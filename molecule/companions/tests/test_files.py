# SPDX-License-Identifier: GPL-3.0-or-later
"""Further folders and files are there as the variables say, and what is in them is not shown."""

from __future__ import annotations

import typing as t

from companions.app import NAME
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion

usual_hosts = [OLDEST]


def test_folders_and_files_have_their_owners_and_modes(host: Host, app: Companion) -> None:
    found = host.check_output(f"cd /srv/{NAME} && stat -c '%n %U %G %a' inbox inbox/new inbox/new/key flags").splitlines()
    assert found == [f"inbox {NAME} {NAME} 700", f"inbox/new root {NAME} 750", f"inbox/new/key root {NAME} 640", "flags root root 770"]
    assert host.check_output(f"cat /srv/{NAME}/inbox/new/key") == "the key is hunter3"


def test_their_content_is_not_shown(app: Companion, told: str) -> None:
    assert "inbox/new/key" in told
    assert "hunter3" not in told
