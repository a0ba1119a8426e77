# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The documentation of the options in module_utils/_argspec.py."""

    DOCUMENTATION = r"""
options: {}
"""

    APP_FOLDER = r"""
options:
  path:
    description:
      - The app's folder, which holds C(releases), C(shared) and the link C(current).
      - For instance V(/srv/shop).
    type: path
    required: true
"""

    HEALTH_CHECK = r"""
options:
  health_check:
    description:
      - How to see from outside that a release works. Exactly one of O(health_check.url),
        O(health_check.tcp) and O(health_check.command) says what to look at.
      - Without it a release is healthy when its unit is active and its main process runs in the
        release's folder, which is demanded in any case.
    type: dict
    suboptions:
      url:
        description:
          - A URL with the scheme C(http) or C(https). The target itself asks it, so this is usually
            an address such as V(http://127.0.0.1:4000/health).
          - Redirects are not followed, and a certificate is not verified.
        type: str
      unix_socket:
        description: The socket to ask for O(health_check.url), if the app listens there and not on the address in the URL.
        type: path
      status:
        description: The HTTP statuses that count as healthy.
        type: list
        elements: int
        default: [200]
      header:
        description:
          - Headers that the answer must have, with exactly these values. C({release}) in a value stands for the id of the release
            that is looked at.
        type: dict
        default: {}
      body:
        description: A regular expression that must match somewhere in the first MiB of the body. C({release}) stands for the id of the release.
        type: str
      tcp:
        description:
          - C(address:port) that must accept a connection.
          - On a port that a socket unit holds this succeeds whatever the app does, so it serves for
            another port of the app.
        type: str
      command:
        description: A command, as a list of arguments, that must end with status 0. It runs in the release's folder.
        type: list
        elements: str
      timeout:
        description: How long one look may take, in seconds.
        type: float
        default: 5
      interval:
        description: The pause between two looks, in seconds.
        type: float
        default: 1
      retries:
        description: How many looks are taken before the release counts as unhealthy.
        type: int
        default: 30
"""
