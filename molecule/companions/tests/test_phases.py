# SPDX-License-Identifier: GPL-3.0-or-later
"""Each phase of a set-up and a deploy can be called by itself, and does its part and no other."""

from __future__ import annotations

import typing as t
from pathlib import Path

from playbooks import archive, playbook
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

usual_hosts = [OLDEST]

APP = {
    "app_name": "phases",
    "app_command": "bin/demo",
    "app_listen": ["127.0.0.1:4921"],
    "app_service_type": "notify",
    "app_health_check": {"url": "http://127.0.0.1:4921/", "retries": 1},
    "app_settle_seconds": 0.2,
    "app_release_id": "one",
    "app_keep_releases": 1,
    "app_remove_data": True,
}
Seen = t.Callable[[str], dict[str, t.Any]]


def run(host: Host, reported: Seen, *phases: str) -> dict[str, dict[str, str]]:
    """Runs phases one after the other, and tells how the host was after each."""
    given = {**APP, "app_release_src": archive("phases"), "phases": phases}
    done = playbook(str(Path(__file__).parents[1] / "phases.yml"), host, given)
    assert done.returncode == 0, done.stdout
    return reported("phases")


def errors(seen: dict[str, dict[str, str]]) -> dict[str, str]:
    return {phase: found["error"] for phase, found in seen.items() if found["error"]}


def test_each_phase_does_its_part(host: Host, reported: Seen) -> None:
    setup = ("layout accounts", "layout folders", "units install", "units enable")
    seen = run(host, reported, *setup, "release stage", "release switch", "release validate", "release status")
    assert errors(seen) == {}
    assert (seen["layout accounts"]["user"], seen["layout accounts"]["folders"]) == ("phases", "")
    assert (seen["layout folders"]["folders"], seen["layout folders"]["units"]) == ("releases shared", "")
    assert {"phases.service", "phases.socket"} <= set(seen["units install"]["units"].split())
    assert "wants" not in seen["units install"]["units"]
    assert seen["units install"]["active"] == "inactive inactive"
    assert {"multi-user.target.wants/phases.service", "sockets.target.wants/phases.socket"} <= set(seen["units enable"]["units"].split())
    assert seen["units enable"]["active"].startswith("active")
    assert (seen["units enable"]["releases"], seen["release stage"]["releases"]) == ("", "one")
    assert "current" not in seen["release stage"]["folders"]
    assert "current" in seen["release switch"]["folders"]
    assert seen["release status"]["active"] == "active active"


def test_each_phase_of_the_end_too(host: Host, reported: Seen) -> None:
    host.check_output("cd /srv/phases/releases && cp --archive one zero && sed -i 's/one/zero/; s/2026/2025/' zero/.release.json")
    seen = run(host, reported, "release stop", "release validate", "units enable", "release prune", "units remove", "layout remove")
    assert list(errors(seen)) == ["release validate"]
    assert seen["release validate"]["error"].startswith("phases: release one is live and not healthy")
    assert seen["release stop"]["active"] == "inactive inactive"
    assert seen["units enable"]["active"].startswith("active")
    assert (seen["release stop"]["releases"], seen["release prune"]["releases"]) == ("one zero", "one")
    assert (seen["units remove"]["units"], seen["layout remove"]["folders"], seen["layout remove"]["user"]) == ("", "", "")
