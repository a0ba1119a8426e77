# SPDX-License-Identifier: GPL-3.0-or-later
"""The container that the bench runs in, and the two ways to it: podman for the bench itself, Ansible for what it measures."""

from __future__ import annotations

import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "bench"
GATE = "/opt/bench/gate"
INVENTORY = ROOT / "tests" / "bench" / "inventory.yml"


class BenchFailed(Exception):
    """Something did not go as the bench needs it, so its figures would mean nothing."""


class Host:
    def __init__(self, name: str = "holdfast-bench") -> None:
        self.name = name

    def start(self, suite: str) -> None:
        _run("tools/container", "start", self.name, suite)

    def stop(self) -> None:
        _run("tools/container", "stop", self.name)

    def sh(self, script: str) -> str:
        """Runs a script of the bench itself, past Ansible."""
        return _run(*self.command("sh", "-euc", script))

    def command(self, *command: str, options: t.Sequence[str] = ()) -> list[str]:
        return ["podman", "exec", "--interactive", *options, self.name, *command]

    def write(self, path: str, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        subprocess.run(self.command("sh", "-euc", f'mkdir -p "$(dirname {path})" && cat >{path}'), input=content, check=True)

    def close_gate(self) -> None:
        self.sh("rm -rf /run/bench && mkdir -m 1777 /run/bench")

    def is_at_gate(self) -> bool:
        return "ready" in self.sh("ls /run/bench")

    def open_gate(self) -> float:
        """Lets a deploy go on, and says when that was, in seconds since the epoch."""
        return float(self.sh("date +%s.%N; touch /run/bench/go"))

    def ansible(self, module: str, arguments: str, *options: str) -> None:
        """One call of Ansible: each deploy is one, so that what Ansible itself takes is the same for every way."""
        _run(str(Path(sys.executable).with_name("ansible")), self.name, "-i", str(INVENTORY), "-m", module, "-a", arguments, *options)

    def playbook(self, name: str, *options: str) -> None:
        _run(str(Path(sys.executable).with_name("ansible-playbook")), name, "-i", str(INVENTORY), "--limit", self.name, *options)


def pack(release: str, *, start_up: float, **settings: str) -> Path:
    """The test app as a release that needs so many seconds to start, with further settings of it."""
    path = CACHE / f"{release}.tar.gz"
    _run("tests/apps/pack", str(path), f"DEMO_START_SECONDS={start_up}", *(f"{name}={value}" for name, value in settings.items()))
    return path


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise BenchFailed(f"{' '.join(command)[:300]}\nended with status {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout
