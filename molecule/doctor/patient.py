# SPDX-License-Identifier: GPL-3.0-or-later
"""The app that the doctor looks at: set up and deployed once on each host, then given faults and rid of them."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

from playbooks import module, playbook

if t.TYPE_CHECKING:
    import subprocess

    from testinfra.host import Host

NAME, PORT, OWN_PORT = "doctored", 4860, 4861
PATH = f"/run/{NAME}.sock"
VARIABLES = {
    "app_name": NAME,
    "app_command": "/usr/bin/python3 app.py",
    # Both families, and a path.
    "app_listen": [str(PORT), PATH],
    "app_service_type": "notify",
    "app_health_check": {"url": f"http://127.0.0.1:{PORT}/"},
    "app_release_src": str(Path(__file__).parent / "release"),
    "app_release_id": "one",
    "app_stop_timeout": "5s",
    "app_settle_seconds": 0.1,
    "app_deployed_by": "tester",
}
ARGUMENTS = {
    "path": f"/srv/{NAME}",
    "service": f"{NAME}.service",
    "socket": [f"{NAME}.socket"],
    "stand_in": f"{NAME}@.service",
    "health_check": VARIABLES["app_health_check"],
}
ENVIRONMENT = f"/etc/{NAME}/environment"
DROP_IN = f"/run/systemd/system/{NAME}.service.d/50-fault.conf"


class Patient:
    """The app on one host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def examine(self, *options: str, **arguments: t.Any) -> dict[str, t.Any]:
        return module("doctor_info", self.host, {**ARGUMENTS, **arguments}, *options)

    def play(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        return playbook("doctor", self.host, {**VARIABLES, **variables}, *options)

    @contextlib.contextmanager
    def runs_with(self, *, unit: str = "", **environment: t.Any) -> t.Iterator[None]:
        """Runs the app meanwhile with these variables and lines of a drop-in."""
        self._start("".join(f"{name}={value}\n" for name, value in environment.items()), unit)
        try:
            yield
        finally:
            self._start("", "")

    def _start(self, environment: str, unit: str) -> None:
        self.host.check_output(
            f"printf %s %s >{ENVIRONMENT} && mkdir -p {DROP_IN.rpartition('/')[0]} && printf %s %s >{DROP_IN}", "%s", environment, "%s", unit
        )
        # Who has lowered the backlog has done so for all that follow, and one who ignores SIGTERM would take its time.
        self.host.check_output(
            f"[ -s {DROP_IN} ] || rm {DROP_IN}; systemctl daemon-reload && systemctl start {NAME}-backlog.service && "
            f"{{ systemctl kill --signal=KILL {NAME}.service; systemctl restart {NAME}.service; }}"
        )

    def process(self) -> str:
        """What is another one after any restart."""
        return str(self.host.check_output(f"systemctl show --property=MainPID,NRestarts,ActiveEnterTimestampMonotonic {NAME}.service"))

    def trace(self) -> str:
        """What there is of instances beside the live one."""
        loaded = f"systemctl list-units --all --plain --no-legend '{NAME}.doctor-*' '{NAME}@*'"
        return str(self.host.check_output(f"{loaded}; ls /run /run/systemd/system | grep '{NAME}[.@].*doctor\\|{NAME}@' || true"))
