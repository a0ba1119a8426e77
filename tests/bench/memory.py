# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints every 0.2 s, for so many seconds, the moment and how many bytes of memory some units hold.

    python3 memory.py SECONDS PATTERN...        for instance: memory.py 10 'shop.service' 'shop@*.service'

It is the proportional set size (PSS) of all their processes: what several share is divided among them. That needs the
right to look into processes of other users (CAP_SYS_PTRACE), and fails without it.
"""

from __future__ import annotations

import fnmatch
import sys
import time
from pathlib import Path


def unit_of(process: Path) -> str:
    own = next((line for line in (process / "cgroup").read_text().splitlines() if line.startswith("0::")), "")
    return next((part for part in reversed(own.split("/")) if part.endswith(".service")), "")


def proportional_set_size(process: Path) -> int:
    rollup = (process / "smaps_rollup").read_text()
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def held_by(patterns: list[str]) -> int:
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            unit = unit_of(process)
            if any(fnmatch.fnmatch(unit, pattern) for pattern in patterns):
                total += proportional_set_size(process)
        except (FileNotFoundError, ProcessLookupError):
            pass  # the process has ended in the meantime
    return total


def main() -> None:
    end = time.time() + float(sys.argv[1])
    while time.time() < end:
        print(time.time(), held_by(sys.argv[2:]), flush=True)
        time.sleep(0.2)


main()
