# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import hypothesis
from ansible.plugins.loader import init_plugin_loader

# Ansible must find the collection before a test imports from it, for afterwards it would not look again.
init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".cache/collections")])

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
