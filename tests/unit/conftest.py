# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets Ansible find the collection before a test imports from it, for afterwards it would not look again."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".cache/collections")])
