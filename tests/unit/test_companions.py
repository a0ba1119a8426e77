# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside the app takes over the same from its service, whoever starts it."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.holdfast.systemd.plugins.module_utils._service import NOT_FOR_COMMANDS

VARS = Path(__file__).resolve().parents[2] / "roles/units/vars/main.yml"


def test_commands_of_a_deploy_and_of_people_leave_the_same_to_the_app() -> None:
    # Only a deploy runs its commands in another release than the live one.
    of_a_deploy = NOT_FOR_COMMANDS.pattern.replace("|WorkingDirectory", "").replace("\\Z", "")
    assert yaml.safe_load(VARS.read_text())["units_of_the_app_alone"] == of_a_deploy + "$"
