# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of its units is read as it means it."""

from __future__ import annotations

from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd


def test_no_text_of_a_property_is_taken_for_another_property() -> None:
    said = "Description=shop\u2028MainPID=1\x0bMainPID=2\nMainPID=7\n"
    shown = Systemd(lambda _command, **_options: (0, said, "")).show("shop.service", "Description", "MainPID")
    assert shown == {"Description": "shop\u2028MainPID=1\x0bMainPID=2", "MainPID": "7"}
