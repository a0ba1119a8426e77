# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a deploy to many hosts costs the controller, beside playbooks that do less.

    python tests/bench/fleet.py --hosts 1,5 --repetitions 1 --ansistrano ~/roles/ansistrano.deploy

The hosts are containers on this machine, so what they do themselves takes of the same processors; it is in the seconds, and not in the
processor time of the controller. The figures go to docs/bench-fleet.json and, as a page, to docs/bench-fleet.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "load"))

import yaml  # type: ignore[import-untyped]
from bench import say, version
from host import CACHE, INVENTORY, BenchFailed, Host, pack
from page import MIB, Spread

SUITE = "bookworm"
PORT, PLAIN_PORT = 4843, 4844
RESULTS = ROOT / "docs" / "bench-fleet.json"
PAGE = ROOT / "docs" / "bench-fleet.md"
# How Ansible comes as it is installed.
FORKS = 5
UNIT = """\
[Service]
Type=notify
WorkingDirectory=/srv/{name}/current
Environment=PORT={port}
ExecStart=/usr/bin/python3 demo.py
Restart=always
"""
HOLDFAST: dict[str, t.Any] = {
    "app_name": "fleet",
    "app_command": "bin/demo",
    "app_listen": [f"127.0.0.1:{PORT}"],
    "app_service_type": "notify",
    "app_health_check": {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}},
    # The other ways do not wait to see whether the release stays up.
    "app_settle_seconds": 0,
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What one deploy took. Memory is that of all processes of the run, at most, in bytes."""

    way: str
    hosts: int
    seconds: float
    cpu: float
    memory: float
    tasks: int


@dataclasses.dataclass(frozen=True)
class Figures:
    machine: dict[str, str]
    repetitions: int
    results: list[Result]

    def of(self, way: str, hosts: int) -> list[Result]:
        return [found for found in self.results if (found.way, found.hosts) == (way, hosts)]


@dataclasses.dataclass(frozen=True)
class Way:
    """A playbook that replaces a release, and what it is told."""

    name: str
    title: str
    playbook: str
    variables: t.Callable[[str, Path], dict[str, t.Any]]


def ways(ansistrano: str) -> list[Way]:
    folder = ROOT / "tests" / "bench"

    def plain(release: str, archive: Path) -> dict[str, t.Any]:
        return {"release": release, "archive": str(archive), "ansistrano": ansistrano}

    return [
        Way(
            "holdfast",
            "**holdfast.systemd.deploy**",
            "holdfast.systemd.deploy",
            lambda release, archive: {**HOLDFAST, "app_release_id": release, "app_release_src": str(archive)},
        ),
        Way("plain", "copy, unarchive, file, systemd_service", str(folder / "fleet_plain.yml"), plain),
        *([Way("ansistrano", "the role ansistrano.deploy", str(folder / "fleet_ansistrano.yml"), plain)] if ansistrano else []),
    ]


class Tree:
    """The memory of a process and of all that it has started, at most, while it runs."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._has_ended = threading.Event()
        self._watch = threading.Thread(target=self._look_on, daemon=True)
        self._watch.start()

    def end(self) -> float:
        self._has_ended.set()
        self._watch.join()
        return float(self.most)

    def _look_on(self) -> None:
        while not self._has_ended.wait(0.25):
            self.most = max(self.most, sum(map(_held, _descendants(self._pid))))


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for known in found:
        found.extend(parents.get(known, []))
    return found


def _held(pid: int) -> int:
    """What a process holds, where pages that several share count once in all."""
    with contextlib.suppress(OSError):
        held = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(held[1]) * 1024 if held else 0
    return 0


def set_up(hosts: t.Sequence[Host], inventory: Path, archive: Path, names: t.Iterable[str]) -> None:
    say(f"Starting {len(hosts)} containers with systemd")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(host.start, SUITE) for host in hosts]:
            done.result()
    for host in hosts:
        for name in names:
            host.write(f"/etc/systemd/system/{name}.service", UNIT.format(name=name, port=PLAIN_PORT))
        host.sh("systemctl daemon-reload")
    say("Setting the app up on them")
    _playbook("holdfast.systemd.setup", inventory, len(hosts), HOLDFAST)
    _playbook("holdfast.systemd.deploy", inventory, len(hosts), {**HOLDFAST, "app_release_id": "first", "app_release_src": str(archive)})


def _command(playbook: str, inventory: Path, hosts: int, variables: dict[str, t.Any]) -> list[str]:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    limit = ",".join(names(hosts))
    return [program, playbook, "--inventory", str(inventory), "--limit", limit, "--forks", str(FORKS), "--extra-vars", json.dumps(variables)]


def names(count: int) -> list[str]:
    return [f"holdfast-bench-fleet-{number}" for number in range(count)]


def _playbook(playbook: str, inventory: Path, hosts: int, variables: dict[str, t.Any]) -> None:
    measure("", playbook, inventory, hosts, variables)


def measure(way: str, playbook: str, inventory: Path, hosts: int, variables: dict[str, t.Any]) -> Result:
    """Runs a playbook and says what it took."""
    # No run uses a connection that another one has opened.
    with tempfile.TemporaryDirectory(prefix="fleet-") as sockets, tempfile.TemporaryFile("w+") as output:
        environment = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, "ANSIBLE_NOCOLOR": "1"}
        began = time.monotonic()
        process = subprocess.Popen(_command(playbook, inventory, hosts, variables), cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        tree = Tree(process.pid)
        # With what its children took that have ended, which Ansible waits for.
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = tree.end()
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise BenchFailed(f"{playbook} ended with status {process.returncode}:\n{said[-4000:]}")
    executed = [int(count) for count in re.findall(r"^\S+\s+: ok=(\d+)", said, re.MULTILINE)]
    if len(executed) != hosts:
        raise BenchFailed(f"{playbook} has {len(executed)} hosts in its recap, and not {hosts}:\n{said[-4000:]}")
    return Result(way, hosts, seconds, usage.ru_utime + usage.ru_stime, memory, max(executed))


def page(figures: Figures) -> str:
    """Returns the page as Markdown."""
    machine = ", ".join(f"{name} {number}" for name, number in figures.machine.items() if name != "cores")
    counts = sorted({found.hosts for found in figures.results})
    rounds = "One run of each" if figures.repetitions == 1 else f"Medians of {figures.repetitions} runs of each, with the least and the most"
    lines = [
        "# What a deploy to a fleet costs the controller",
        "",
        "Generated by `make bench-fleet`; no figure on this page was written by hand.",
        "",
        f"Each run brings a new release of a small app to so many hosts, with {FORKS} forks, and opens its own connections. {rounds}. The hosts are",
        f"containers on the same {figures.machine['cores']} cores, and what they do is in the seconds; the processor time and the memory are those of",
        "the controller, without the ssh processes that stay in the background. Tasks are the most that the recap counts for one host.",
        "",
        "The ways do not do the same. `holdfast.systemd.deploy` checks the variables, stages on all hosts before the first one switches, holds the",
        "port, asks each release whether it is healthy, could go back, and removes old releases. The plain playbook unpacks, links and restarts.",
        "`app_settle_seconds` is 0, for the others do not look again either.",
        "",
        f"{machine}.",
        "",
        "| hosts | | seconds | processor time, s | memory, MiB | tasks |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    titles = {way.name: way.title for way in ways("somewhere")}
    for count in counts:
        for name in dict.fromkeys(found.way for found in figures.results):
            found = figures.of(name, count)
            spreads = [Spread.of(values) for values in ([one.seconds for one in found], [one.cpu for one in found], [one.memory / MIB for one in found])]
            cells = [str(count), titles[name], spreads[0].text(), spreads[1].text(), spreads[2].text(0), str(max(one.tasks for one in found))]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_ratios(figures, counts)]
    return "\n".join(lines) + "\n"


def _ratios(figures: Figures, counts: t.Sequence[int]) -> list[str]:
    """How holdfast stands beside each other way, which the figures themselves say."""
    lines = []
    for other in dict.fromkeys(found.way for found in figures.results if found.way != "holdfast"):
        told = []
        for count in counts:
            own, others = figures.of("holdfast", count), figures.of(other, count)
            if own and others:
                seconds = Spread.of([one.seconds for one in own]).median / Spread.of([one.seconds for one in others]).median
                cpu = Spread.of([one.cpu for one in own]).median / Spread.of([one.cpu for one in others]).median
                told.append(f"{seconds:.1f} times the seconds and {cpu:.1f} times the processor time on {count} host{'s' if count > 1 else ''}")
        lines.append(f"Beside `{other}`, `holdfast` takes {', '.join(told)}.")
    return lines


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="1,5,10,20", metavar="COUNT,...", help="%(default)s")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--ansistrano", default=os.environ.get("ANSISTRANO", ""), metavar="PATH", help="of the role ansistrano.deploy, to measure it too")
    parser.add_argument("--from-results", action="store_true", help=f"write the page anew from {RESULTS.relative_to(ROOT)}, and measure nothing")
    chosen = parser.parse_args()
    if chosen.ansistrano:
        chosen.ansistrano = str(Path(chosen.ansistrano).expanduser().resolve())
        if not Path(chosen.ansistrano, "tasks/main.yml").exists():
            parser.error(f"--ansistrano {chosen.ansistrano}: there is no tasks/main.yml, so this is no role")
    return chosen


def figures(chosen: argparse.Namespace) -> Figures:
    CACHE.mkdir(parents=True, exist_ok=True)
    counts = [int(count) for count in chosen.hosts.split(",")]
    compared = ways(chosen.ansistrano)
    hosts = [Host(name) for name in names(max(counts))]
    known = yaml.safe_load(INVENTORY.read_text().replace("{{ inventory_dir }}", str(INVENTORY.parent)))
    inventory = CACHE / "fleet.json"
    inventory.write_text(json.dumps({"all": {"vars": known["all"]["vars"], "hosts": dict.fromkeys(names(max(counts)))}}))
    archive = pack("fleet", start_up=0)
    results: list[Result] = []
    try:
        set_up(hosts, inventory, archive, [way.name for way in compared if way.name != "holdfast"])
        machine = {
            "ansible-core": _ansible_version(),
            "Python": platform.python_version(),
            "systemd": version(hosts[0], "systemctl --version"),
            "Linux": platform.release(),
            "cores": str(os.cpu_count()),
        }
        say(f"\n  {'':<12}{'hosts':>6}{'seconds':>10}{'CPU, s':>9}{'MiB':>7}{'tasks':>7}")
        for repetition in range(chosen.repetitions):
            for count in counts:
                for way in compared:
                    release = f"{way.name}-{count}-{repetition}"
                    found = measure(way.name, way.playbook, inventory, count, way.variables(release, archive))
                    results.append(found)
                    say(f"  {way.name:<12}{count:>6}{found.seconds:>10.1f}{found.cpu:>9.1f}{found.memory / MIB:>7.0f}{found.tasks:>7}")
                    # The next way finds its port free.
                    if way.name != "holdfast":
                        for host in hosts[:count]:
                            host.sh(f"systemctl stop {way.name}.service")
    finally:
        for host in hosts:
            host.stop()
    return Figures(machine, chosen.repetitions, results)


def _ansible_version() -> str:
    # Only here, for it takes a moment to load.
    from ansible.release import __version__  # noqa: PLC0415

    return str(__version__)


def main() -> None:
    chosen = options()
    if chosen.from_results:
        saved = json.loads(RESULTS.read_text())
        measured = Figures(saved["machine"], saved["repetitions"], [Result(**found) for found in saved["results"]])
    else:
        measured = figures(chosen)
        RESULTS.write_text(json.dumps(dataclasses.asdict(measured), indent=1) + "\n")
    PAGE.write_text(page(measured))
    say(f"Wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except BenchFailed as error:
        sys.exit(f"bench-fleet: {error}")
