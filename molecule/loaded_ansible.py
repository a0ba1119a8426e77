# SPDX-License-Identifier: GPL-3.0-or-later
"""What every Ansible run loads before its first task; a process that has imported this can be forked for each (playbooks.py)."""

import gc
import importlib

from ansible import constants
from ansible.plugins.loader import become_loader, connection_loader, inventory_loader, shell_loader

for program in ("adhoc", "playbook"):
    importlib.import_module(f"ansible.cli.{program}")
for plugins in (become_loader, connection_loader, shell_loader):
    list(plugins.all(class_only=True))
for name in constants.INVENTORY_ENABLED:
    inventory_loader.get(name, class_only=True)
# A run ends before it would be worth its while.
gc.disable()
