# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures ways to replace a release of an app under load, each beside the others.

    python tests/bench/bench.py --repetitions 1 --start-up 2 --ways overlap,nginx

The figures go to docs/bench.json, and with a page of words around them to docs/bench.md and docs/bench.svg.
Every repetition measures every way once, so that what disturbs the machine for a while disturbs all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import re
import sys
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "load"))

from host import CACHE, GATE, BenchFailed, Host, pack
from measure import Deploy, Result, Settings, run
from page import Figures, page, picture, quiet
from ways import WAYS, Front, Way

from load import K6

SUITE = "trixie"
RESULTS = ROOT / "docs" / "bench.json"


def say(text: str) -> None:
    print(text, flush=True)


def prepare(host: Host) -> None:
    """Puts the load generator and what else measures beside the app."""
    host.write("/usr/local/bin/k6", Path(K6).read_bytes())
    for name in ("clients.js", "memory.py", "gate"):
        host.write(f"/opt/bench/{name}", (ROOT / "tests" / "bench" / name).read_bytes())
    host.sh(f"chmod 755 /usr/local/bin/k6 {GATE}")


def set_up(host: Host, fronts: t.Iterable[Front]) -> None:
    host.start(SUITE)
    say("Installing nginx, HAProxy and gunicorn in it")
    # Debian starts what it installs, unless this says no.
    host.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    host.sh(
        "export DEBIAN_FRONTEND=noninteractive; chmod 755 /usr/sbin/policy-rc.d; apt-get update -qq\n"
        "apt-get install -qq --yes --no-install-recommends nginx-light haproxy gunicorn >/dev/null"
    )
    prepare(host)
    for front in fronts:
        say(f"Setting up {front.title}")
        front.setup(host, "first", pack("first", start_up=0))


def version(host: Host, command: str) -> str:
    """The version that a command of the host says."""
    found = re.search(r"\d+(\.\d+)+|(?<=systemd )\d+", host.sh(command))
    return found.group() if found else "unknown"


def versions(host: Host) -> dict[str, str]:
    commands = {
        "systemd": "systemctl --version",
        "nginx": "nginx -v 2>&1",
        "HAProxy": "haproxy -v",
        "gunicorn": "gunicorn --version",
        "Python": "python3 --version",
        "k6": "k6 version",
    }
    return {
        **{name: version(host, command) for name, command in commands.items()},
        "Linux": platform.release(),
        "cores": str(os.cpu_count()),
    }


def measure(host: Host, ways: t.Sequence[Way], loads: t.Sequence[Settings], repetition: int) -> t.Iterator[Result]:
    """One round: every way under these loads, each front first without a deploy."""
    start_up = loads[0].start_up
    for front in dict.fromkeys(way.front for way in ways):
        yield from run(host, loads, quiet(front), port=front.port, units=front.units)
        for way in (way for way in ways if way.front is front):
            release = f"{way.name}-{start_up:g}-{repetition}"
            front.stage(host, release, pack(release, start_up=start_up))
            deploy = Deploy(host, release, way.deploy)
            yield from run(host, loads, way.name, port=front.port, units=front.units, deploy=deploy)


def options() -> argparse.Namespace:
    names = [way.name for way in WAYS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--start-up", default="0,2,10", metavar="SECONDS,...", help="how long the app needs to start (%(default)s)")
    parser.add_argument("--loops", default="closed,open", help="closed, open, or both at the same time (%(default)s)")
    parser.add_argument("--ways", default=",".join(names), help="%(default)s")
    parser.add_argument("--seconds", type=float, default=12, help="of load, beside twice the time the app needs to start (%(default)s)")
    parser.add_argument("--clients", type=int, default=20, help="of the closed loop (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.05, help="between two requests of a client of the closed loop, in seconds (%(default)s)")
    parser.add_argument("--rate", type=int, default=200, help="requests per second of the open loop (%(default)s)")
    parser.add_argument("--continue", action="store_true", dest="goes_on", help="keep the whole rounds of a bench that was stopped, and measure the rest")
    parser.add_argument("--from-results", action="store_true", help=f"write the page anew from {RESULTS.relative_to(ROOT)}, and measure nothing")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.ways.split(",") if name not in names]
    if unknown:
        parser.error(f"there is no way {', '.join(unknown)}; there are {', '.join(names)}")
    if set(chosen.loops.split(",")) - {"closed", "open"}:
        parser.error(f"--loops {chosen.loops}: there are closed and open")
    return chosen


def figures(chosen: argparse.Namespace) -> Figures:
    started = time.time()
    CACHE.mkdir(parents=True, exist_ok=True)
    ways = [way for way in WAYS if way.name in chosen.ways.split(",")]
    settings = [
        Settings(loop, float(start_up), chosen.seconds + 2 * float(start_up), chosen.clients, chosen.pause, chosen.rate)
        for start_up in chosen.start_up.split(",")
        for loop in chosen.loops.split(",")
    ]
    by_start_up = [[load for load in settings if load.start_up == start_up] for start_up in dict.fromkeys(load.start_up for load in settings)]
    host = Host()
    try:
        say("Starting a container with systemd")
        set_up(host, dict.fromkeys(way.front for way in ways))
        measured = Figures(versions(host), chosen.repetitions, settings, [])
        if chosen.goes_on:
            measured = go_on(measured, ways)
        say(f"\n  {'loop':<8}{'start-up':>8}  {'':<32}{'requests':>9}{'failed':>8}{'p50':>8}{'p99':>9}{'slowest':>10} ms")
        for repetition, loads in itertools.product(range(chosen.repetitions), by_start_up):
            if measured.whole_rounds(loads[0]) > repetition:
                continue
            found = []
            for result in measure(host, ways, loads, repetition):
                found.append(result)
                say(
                    f"  {result.loop:<8}{result.start_up:>6g} s  {result.subject:<32}{result.requests:>9,}{result.failed:>8,}"
                    f"{result.p50:>8.1f}{result.p99:>9.1f}{result.slowest:>10.1f}"
                )
            # A round counts as a whole: its ways are compared with each other.
            measured.results.extend(found)
            RESULTS.write_text(json.dumps(dataclasses.asdict(measured), indent=1) + "\n")
    finally:
        host.stop()
    say(f"\nIt took {time.time() - started:.0f} s.")
    return measured


def go_on(wanted: Figures, ways: t.Sequence[Way]) -> Figures:
    """The figures of a bench that was stopped, if it measured the same in the same way."""
    before = Figures.from_dict(json.loads(RESULTS.read_text()))
    if (before.machine, before.settings, before.ways) != (wanted.machine, wanted.settings, ways):
        raise BenchFailed(f"--continue: {RESULTS.relative_to(ROOT)} is of other ways, loads or versions; measure it all")
    return dataclasses.replace(wanted, results=before.results, sittings=before.sittings + 1)


def main() -> None:
    chosen = options()
    measured = Figures.from_dict(json.loads(RESULTS.read_text())) if chosen.from_results else figures(chosen)
    (ROOT / "docs" / "bench.md").write_text(page(measured))
    (ROOT / "docs" / "bench.svg").write_text(picture(measured))
    say("The figures are in docs/bench.md and docs/bench.svg.")


if __name__ == "__main__":
    try:
        main()
    except BenchFailed as error:
        sys.exit(f"bench: {error}")
