# SPDX-License-Identifier: GPL-3.0-or-later
"""The app of this scenario, and what a test asks of its host and its playbooks."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from testinfra.host import Host

APP: dict[str, t.Any] = {
    "app_name": "listener",
    "app_command": "bin/demo",
    "app_listen": ["127.0.0.1:4980"],
    "app_service_type": "notify",
    "app_health_check": {"url": "http://127.0.0.1:4980/"},
    "app_settle_seconds": 0,
}


def gap(output: str) -> float:
    found = re.search(r"closed for ([0-9.]+) s", output)
    assert found, output
    return float(found[1])


def wait_for(host: Host, address: str) -> None:
    host.check_output(f"for i in $(seq 50); do ss -ltn | grep -q '{address} ' && exit; sleep 0.1; done; exit 1")
