# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a caller who is not root does what takes root: through the helper of one app, which sudo lets him run. Private to the collection.

The other end is _helper. What may be asked for is decided there; what belongs here is the way there, and what to tell
somebody who may not go it.
"""

from __future__ import annotations

import os
import pwd

HELPERS = "/usr/local/libexec/holdfast"


def way_in(service: str | None) -> tuple[str, ...]:
    """The command that is told in further words what to do for a service; nothing for root, who needs none."""
    if os.geteuid() == 0 or not service:
        return ()
    return ("sudo", "--non-interactive", "--", os.path.join(HELPERS, service.rpartition(".")[0]))


def lacking(what: object) -> str:
    """What to tell a caller who lacks a right."""
    if os.geteuid() == 0:
        return f"app_deploy_user: the owner of the releases, with whose rights root works on them, lacks a right ({what}); run the setup playbook"
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return f"app_deploy_user: {user} is not root and lacks a right ({what}); run the setup playbook as root with app_deploy_user={user}, or use become"
