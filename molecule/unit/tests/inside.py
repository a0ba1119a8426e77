# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host, beside a copy of the collection, so that thousands of values cost few connections.

python3 inside.py round_trip|fuzz  <a JSON document  >another one
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import UNIT_FOLDER, Systemd
from ansible_collections.holdfast.systemd.plugins.modules.unit import Reader, Refused

SAID = "/run/round-trip.json"
ECHO = f"""
import json, os, sys
environment = {{os.fsdecode(name): os.fsencode(value).hex() for name, value in os.environ.items() if name.startswith("V_")}}
json.dump({{"arguments": [os.fsencode(word).hex() for word in sys.argv[1:]], "environment": environment}}, open({SAID!r}, "w"))
"""


def run(command: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(environ_update or {})})
    return done.returncode, done.stdout, done.stderr


def round_trip(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """Gives values to a process as arguments and as variables; returns what the process got, in hexadecimal."""
    with open("/run/echo.py", "w", encoding="utf-8") as stream:
        stream.write(ECHO)
    environment = {f"V_{number}": value for number, value in enumerate(given["variables"])}
    service = {"Type": "oneshot", "ExecStart": ["/usr/bin/python3", "/run/echo.py", *given["arguments"]], "Environment": environment}
    with open(f"{UNIT_FOLDER}/round-trip.service", "w", encoding="utf-8") as stream:
        stream.write(_unit_file.render({"Service": service}))
    systemd = Systemd(run)
    systemd.daemon_reload()
    systemd.start("round-trip.service")
    with open(SAID, encoding="utf-8") as stream:
        found: dict[str, t.Any] = json.load(stream)
    os.unlink(SAID)
    return {"arguments": found["arguments"], "variables": [found["environment"].get(name) for name in environment]}


def fuzz(given: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Installs those of the given sections that the module takes; returns what systemd then said of them."""
    systemd = Systemd(run)
    schema = systemd.schema()
    refused, accepted = [], []
    for number, sections in enumerate(given):
        name = f"fuzz{number}.service"
        options = {"name": name, "sections": sections, "dropin": None, "replace": False, "state": "present"}
        try:
            file = Reader(schema, drop_unknown=False).read(options)
            serious, _others = systemd.verify({name: str(file.wanted)})
            if serious:
                raise Refused("; ".join(serious))
        except Refused as error:
            refused.append(str(error))
        else:
            file.install()
            accepted.append(name)
    since = time.time()
    time.sleep(1)
    systemd.daemon_reload()
    states = {name: systemd.show(name, "LoadState")["LoadState"] for name in accepted}
    subprocess.run(["journalctl", "--sync"], check=True)
    journal = run(["journalctl", f"--since=@{int(since)}", "--output=cat", "--no-pager", "_PID=1"])[1]
    # A name of an account that systemd finds odd is accepted all the same.
    complaints = [line for line in journal.splitlines() if "fuzz" in line and not line.startswith("Accepting ")]
    for name in accepted:
        os.unlink(f"{UNIT_FOLDER}/{name}")
    systemd.daemon_reload()
    return {"refused": refused, "states": states, "complaints": complaints}


if __name__ == "__main__":
    json.dump({"round_trip": round_trip, "fuzz": fuzz}[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
