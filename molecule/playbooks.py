# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's playbooks from a test, as a user would from a shell."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.forkserver
import os
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path
from unittest import mock

if t.TYPE_CHECKING:
    from testinfra.host import Host

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SCRATCH = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
MISSING = object()
# Ansible takes a second of a processor to load, and the tests run it many hundred times: each run is a fork of a process
# that has loaded it (loaded_ansible.py), and otherwise what happens in a shell.
LOADED = multiprocessing.get_context("forkserver")
# Whether there are colours is settled when it is loaded, and molecule asks for them.
os.environ.update({"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"})
LOADED.set_forkserver_preload(["pytest", "loaded_ansible"])


def ansible(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ansible or ansible-playbook with these arguments, without colours."""
    with tempfile.NamedTemporaryFile("r+") as output, tempfile.NamedTemporaryFile("r+") as errors:
        _start_what_is_forked()
        process = LOADED.Process(target=_be_ansible, args=(command, environment, output.name, errors.name))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, t.cast("int", process.exitcode), output.read(), errors.read())


def _start_what_is_forked() -> None:
    """Starts the process with Ansible, if it does not run yet; it has another sys.path, and passes over what it does not find."""
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(Path(__file__).parent)}):
        multiprocessing.forkserver.ensure_running()


def _be_ansible(command: tuple[str, ...], environment: dict[str, str], output: str, errors: str) -> None:
    os.environ.pop("PYTHONPATH", None)
    if "loaded_ansible" not in sys.modules:
        raise RuntimeError("Ansible was not loaded before the fork, so each run would load it anew")
    os.environ.update(environment)
    for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream.fileno())
    # Only here, since pytest itself has no use for it.
    from ansible.cli.adhoc import AdHocCLI  # noqa: PLC0415
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415

    import kept_templates  # noqa: PLC0415

    kept_templates.keep(SCRATCH / "templates")

    {"ansible": AdHocCLI, "ansible-playbook": PlaybookCLI}[command[0]].cli_executor(list(command))


def playbook(name: str, host: Host, variables: dict[str, t.Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs setup, deploy and so on, or a playbook of a test's own, against one host; a variable that is MISSING is left out."""
    given = json.dumps({key: value for key, value in variables.items() if value is not MISSING})
    known = name if "/" in name else f"holdfast.systemd.{name}"
    return together(ansible("ansible-playbook", known, "--limit", host.backend.get_hostname(), "-e", given, *options))


def together(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """With all that was said in stdout."""
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + done.stderr)


def module(name: str, host: Host, arguments: dict[str, t.Any], *options: str) -> dict[str, t.Any]:
    """Runs one module of the collection on a host and returns its result."""
    command = ["ansible", host.backend.get_hostname(), "-m", f"holdfast.systemd.{name}", "-a", json.dumps(arguments), *options]
    done = ansible(*command, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    start = re.search(r"(SUCCESS|CHANGED|FAILED!) => ", done.stdout)
    assert start, done.stdout + done.stderr
    result: dict[str, t.Any] = json.JSONDecoder().raw_decode(done.stdout, start.end())[0]
    # ansible takes them out of the result and wraps them.
    result["warnings"] = " ".join(done.stderr.split())
    return result


def archive(name: str, **settings: str) -> str:
    """Packs a release of the demo app; the settings say how it behaves."""
    # Tests of several hosts run at the same time, and what one of them sends must be whole and stay the same.
    path = SCRATCH / ("-".join([name, *settings.values()]) + ".tar.gz")
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        packed = Path(folder, path.name)
        subprocess.run([ROOT / "tests/apps/pack", packed, *(f"{key}={value}" for key, value in settings.items())], check=True)
        packed.rename(path)
    return str(path)
