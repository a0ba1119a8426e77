# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, each paired with a fragment in plugins/doc_fragments. Private to the collection.

What belongs here is the declaration alone, and only of an option that more than one module has. What follows from its value
belongs to whoever reads it.
"""

from __future__ import annotations

import typing as t

Options = dict[str, dict[str, t.Any]]


def app_folder() -> Options:
    """The option of every module that works on releases; documented in the fragment app_folder."""
    return {"path": {"type": "path", "required": True}}


def health_check() -> Options:
    """The option `health_check`; documented in the fragment health_check."""
    return {
        "health_check": {
            "type": "dict",
            "mutually_exclusive": [("url", "tcp", "command")],
            "required_one_of": [("url", "tcp", "command")],
            "required_by": {"unix_socket": ["url"]},
            "options": {
                "url": {"type": "str"},
                "unix_socket": {"type": "path"},
                "status": {"type": "list", "elements": "int", "default": [200]},
                "header": {"type": "dict", "default": {}},
                "body": {"type": "str"},
                "tcp": {"type": "str"},
                "command": {"type": "list", "elements": "str"},
                "timeout": {"type": "float", "default": 5},
                "interval": {"type": "float", "default": 1},
                "retries": {"type": "int", "default": 30},
            },
        }
    }
