# SPDX-License-Identifier: GPL-3.0-or-later
"""The app that somebody deploys who is not root, and what he can ask of its helper."""

from __future__ import annotations

import json
import subprocess
import typing as t

from apps import App
from playbooks import archive, module, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

DEPLOYER = "deployer"
HELPER = "/usr/local/libexec/holdfast/unrooted"
# What is given as him to the helper, each a list of words; the answers are the status and the words of each.
ASK = f"""
import json, os, subprocess, sys
given = json.load(sys.stdin)
for case in given:
    command = ["sudo", "--non-interactive", *case.get("sudo", []), "--", {HELPER!r}, *case["words"]]
    done = subprocess.run(command, input=case.get("input", ""), capture_output=True, text=True, env={{**os.environ, **case.get("environment", {{}})}})
    case.update(status=done.returncode, said=done.stdout + done.stderr)
json.dump(given, sys.stdout)
"""
AS_DEPLOYER = ("--extra-vars", f"ansible_user={DEPLOYER}")


class Unrooted(App):
    """The app that is deployed by somebody who is not root."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "unrooted", 4910, "/srv")
        self.variables.update(
            app_deploy_user=DEPLOYER,
            app_sudo_users=["oncall"],
            app_listen=["0.0.0.0:4910"],
            app_environment={"DEMO_START_SECONDS": "1", "DEMO_LINGER_SECONDS": "0.1"},
            app_service_options={"ExecReload": "/bin/kill -HUP $MAINPID"},
            app_directories=["runtime", "state", "configuration"],
            app_shared_paths=["public/uploads"],
        )
        self.switch["who"] = DEPLOYER

    def deploy(self, release: str, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        return super().deploy(release, *AS_DEPLOYER, *options, **variables)

    def run(self, name: str, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        """Runs a playbook, as root unless the options say otherwise."""
        return playbook(name, self.host, {**self.variables, "app_release_src": archive("disaster"), **variables}, *options)

    def switched(self, **arguments: t.Any) -> dict[str, t.Any]:
        return module("release_switch", self.host, {**self.switch, **arguments}, *AS_DEPLOYER)

    def sh(self, script: str, *, user: str = DEPLOYER) -> subprocess.CompletedProcess[str]:
        """Runs a script on the host as somebody, who has no terminal there."""
        command = ["podman", "exec", "--interactive", f"--user={user}", "--workdir=/tmp", self.host.backend.get_hostname(), "sh", "-euc", script]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def ask(self, *cases: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Gives each of the cases to the helper, as the deploy user."""
        command = ["podman", "exec", "--interactive", f"--user={DEPLOYER}", "--workdir=/tmp", self.host.backend.get_hostname(), "python3", "-c", ASK]
        done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=True)
        return t.cast("list[dict[str, t.Any]]", json.loads(done.stdout))

    def refuses(self, *words: str, **case: t.Any) -> bool:
        """Whether the helper does nothing at these words and says so."""
        (answer,) = self.ask({"words": words, **case})
        return answer["status"] == 1 and f"{HELPER} refused this: " in answer["said"]
