# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: sets an app up in a container, deploys it under load, and says what the clients saw.

Run it as `make demo`. It ends with status 0 only if no request failed and the right release is live.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "load"))

from load import Load, Report, Request
from picture import Mark, draw

HOST = "holdfast-demo"
CACHE = ROOT / ".cache" / "demo"
VARIABLES = {
    "app_name": "demo",
    "app_command": "bin/demo",
    "app_listen": ["0.0.0.0:4000"],
    "app_service_type": "notify",
    "app_environment": {"DEMO_START_SECONDS": "1"},
    "app_health_check": {"url": "http://127.0.0.1:4000/"},
    "app_settle_seconds": 0.5,
}


class DemoFailed(Exception):
    """Something did not go as the demo promises."""


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def playbook(name: str, *extra: str, succeeds: bool = True) -> None:
    done = run(Path(sys.executable).with_name("ansible-playbook"), f"holdfast.systemd.{name}", "--limit", HOST, "-e", f"@{CACHE}/app.yml", *extra)
    (CACHE / "ansible.log").open("a").write(done.stdout)
    if (done.returncode == 0) != succeeds:
        raise DemoFailed(f"the playbook {name} {'failed' if succeeds else 'did not notice the broken release'}:\n{done.stdout[-4000:]}")


def archive(release: str, **override: str) -> Path:
    path = CACHE / f"{release}.tar.gz"
    run(ROOT / "tests" / "apps" / "pack", path, *(f"{name}={value}" for name, value in override.items()))
    return path


def deploy(release: str, strategy: str = "restart", **override: str) -> None:
    given = {"app_release_id": release, "app_release_src": str(archive(release, **override)), "app_switch": strategy}
    playbook("deploy", "-e", json.dumps(given), succeeds=not override)


def socket_since() -> str:
    return run("podman", "exec", HOST, "systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "demo.socket").stdout


def live(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.headers["X-Release"])


def under_load(url: str, title: str, release: str, strategy: str, *, seconds: float, expect: str, **override: str) -> tuple[Report, Mark]:
    before = socket_since()
    load = Load(url, seconds=seconds, pause=0.04)
    time.sleep(2)
    started = time.time()
    deploy(release, strategy, **override)
    mark = Mark(title, started, time.time())
    report = load.wait()
    failed = sum(report.failures.values())
    say(f"  {title:<44}{len(report.requests):>9,}{failed:>9}{report.slowest * 1000:>12,.0f} ms")
    if max(request.ended for request in report.requests) < mark.ended:
        raise DemoFailed("the load ended before the deploy did, so it proves nothing")
    if failed:
        raise DemoFailed(f"requests failed: {report.failures}")
    if live(url) != expect:
        raise DemoFailed(f"release {live(url)} is live, not {expect}")
    if socket_since() != before:
        raise DemoFailed("the socket unit was restarted")
    return report, mark


def main() -> None:
    started = time.time()
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "ansible.log").write_text("")
    (CACHE / "app.yml").write_text(repr(VARIABLES) + "\n")
    say("Starting a container with systemd")
    booted = run(ROOT / "tools" / "container", "start", HOST, "trixie")
    if booted.returncode:
        raise DemoFailed(booted.stdout)
    url = f"http://{run(ROOT / 'tools' / 'container', 'address', HOST).stdout.strip()}:4000/"
    say("Setting the app up, which needs a second to start")
    playbook("setup")
    say("Deploying release 1")
    deploy("1")
    say("Deploying under load: 40 clients, half of them with a new connection for each request\n")
    say(f"  {'':<44}{'requests':>9}{'failed':>9}{'slowest':>15}")
    steps = [
        under_load(url, "release 2, restart", "2", "restart", seconds=13, expect="2"),
        under_load(url, "release 3, overlap", "3", "overlap", seconds=14, expect="3"),
        under_load(url, "release 4 crashes at start, overlap", "4", "overlap", seconds=11, expect="3", DEMO_FAULT="exit-at-start"),
    ]
    requests: list[Request] = [request for report, _mark in steps for request in report.requests]
    picture = ROOT / "demo-latency.svg"
    picture.write_text(draw(requests, [mark for _report, mark in steps], title="What clients waited for while releases changed"))
    say(f"\nNo request failed. The picture is {picture.name}. It took {time.time() - started:.0f} s.")


if __name__ == "__main__":
    try:
        main()
    except DemoFailed as error:
        sys.exit(f"demo: {error}")
    finally:
        run(ROOT / "tools" / "container", "stop", HOST)
