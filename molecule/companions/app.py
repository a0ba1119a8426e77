# SPDX-License-Identifier: GPL-3.0-or-later
"""An app with all that can stand beside it."""

from __future__ import annotations

import contextlib
import shutil
import typing as t
from pathlib import Path

from apps import App
from playbooks import ROOT, SCRATCH, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

NAME = "companion"
PORT = 4920
FLAG = f"/srv/{NAME}/flags/restart.flag"
AS_THE_APP = f"setpriv --reuid={NAME} --regid={NAME} --clear-groups"

# Writes what only this host knows, counts its runs, and prints what must not be seen.
FIND_OUT = """#!/bin/sh
[ ! -e /etc/companion-fails ] || { echo 'no metadata service answers' >&2; exit 3; }
echo x >>"$STATE_DIRECTORY/runs"
echo "a password: hunter2"
echo "ADDRESS=$(hostname) $GREETING $(wc -l <"$STATE_DIRECTORY/runs")" >"$RUNTIME_DIRECTORY/environment"
"""
REPORT = r"""#!/bin/sh
case ${1-} in
fail) exit 7 ;;
esac
echo "user $(id -un):$(id -gn)"
echo "folder $(pwd -P)"
echo "program $0"
for argument; do printf 'argument %s\n' "$argument"; done
"""

KEEP_ASKING = """
import signal, socket, time
failed = asked = 0
done = []
signal.signal(signal.SIGTERM, lambda *_: done.append(1))
while not done:
    asked += 1
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    except Exception as error:
        failed += 1
        print(error, flush=True)
print(f"{asked} asked, {failed} failed", flush=True)
""".replace("PORT", str(PORT))


class Companion(App):
    """The app, its process, and what it sees."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, NAME, PORT, "/srv")
        # Tests of several hosts run at the same time.
        scratch = SCRATCH / f"companion-{host.backend.get_hostname()}"
        scratch.mkdir(exist_ok=True)
        (scratch / "secret").write_text("the key is hunter3\n")
        self.options: tuple[str, ...] = ("--diff",)
        self.variables |= {
            "app_release_src": str(release(scratch / "app")),
            "app_release_id": "one",
            "app_directories": ["runtime", "state", "configuration"],
            "app_environment": {"GREETING": 'hello "$world"', "DEMO_START_SECONDS": "0.5"},
            "app_service_options": {"LimitNOFILE": 4321, "Environment": {"APP_INSTANCE": "", "NAME_OF_UNIT": "a b"}},
            "app_runtime_environment_script": "bin/find-out",
            "app_restart_method": "systemd_flag",
            "app_helper_scripts": True,
            "app_migrate_command": "bin/report migrate 'two words'",
            "app_console_command": "/bin/sh",
            "app_create_dirs": [
                {"path": f"/srv/{NAME}/inbox", "owner": NAME, "mode": "0700"},
                {"path": f"/srv/{NAME}/inbox/new"},
            ],
            "app_copy_files": [{"src": str(scratch / "secret"), "dest": f"/srv/{NAME}/inbox/new/key"}],
        }

    def set_up(self, **variables: t.Any) -> t.Any:
        return playbook("setup", self.host, {**self.variables, **variables}, *self.options)

    @property
    def pid(self) -> str:
        return str(self.host.check_output(f"systemctl show --value --property=MainPID {NAME}.service"))

    def environment(self, pid: str = "") -> dict[str, str]:
        # With accounts of its own it is open to root, and else to itself.
        file = f"/proc/{pid or self.pid}/environ"
        text = self.host.check_output(f"cat {file} 2>/dev/null || {AS_THE_APP} cat {file}")
        return dict(variable.split("=", 1) for variable in text.split("\0") if variable)

    def runs(self) -> int:
        return int(self.host.check_output(f"wc -l </var/lib/{NAME}/runs"))

    @contextlib.contextmanager
    def asked_all_the_time(self) -> t.Iterator[None]:
        """Clients ask meanwhile, one after the other, and none of them fails."""
        self.host.check_output(f"systemd-run --quiet --unit={NAME}-asking --service-type=exec python3 -c %s", KEEP_ASKING)
        yield
        self.host.check_output(f"systemctl stop {NAME}-asking")
        told = self.host.check_output(f"journalctl --quiet --output=cat _SYSTEMD_UNIT={NAME}-asking.service --lines=20 --no-pager")
        assert told.splitlines()[-1].endswith(" asked, 0 failed"), told


def release(folder: Path) -> Path:
    """The demo app with programs of its own."""
    shutil.copytree(ROOT / "tests/apps/demo", folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name, text in (("find-out", FIND_OUT), ("report", REPORT)):
        path = folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    return folder
