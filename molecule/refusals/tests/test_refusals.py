# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wrong variable is refused by its name, and the host is the same before and after."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from playbooks import MISSING, ROOT, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host


# This scenario shares its hosts with others, so its app has a name and a port of its own.
APP = {
    **yaml.safe_load((ROOT / "molecule/vars/demo.yml").read_text()),
    "app_name": "refused",
    "app_listen": ["127.0.0.1:4999"],
    "app_settle_seconds": 0,
    "app_health_check": {"url": "http://127.0.0.1:4999/"},
}

SETUP = {
    "a name with capitals": ({"app_name": "Shop!"}, "app_name: 'Shop!' cannot name", "lower-case"),
    "a name that is a path": ({"app_name": "../etc"}, "app_name", "lower-case"),
    "no name": ({"app_name": MISSING}, "missing required arguments: app_name", ""),
    "no command": ({"app_command": MISSING}, "app_command: give the command that runs the app", "for instance bin/shop start"),
    "an empty command": ({"app_command": ""}, "app_command", "for instance bin/shop start"),
    "a command of two lines": ({"app_command": "bin/demo\nUser=root"}, "app_command", "in one line"),
    "a port out of range": ({"app_listen": [70000]}, "app_listen: 70000 is not an address", "a port (4000)"),
    "a port out of range alone": ({"app_listen": "70000"}, "app_listen: '70000' is not an address", "a port (4000)"),
    "a host name": ({"app_listen": ["notanip:80"]}, "app_listen: 'notanip:80' is not an address", "127.0.0.1:4000"),
    "no address": ({"app_listen": []}, "app_listen: the list is empty", "give at least one address"),
    "a service that forks": ({"app_service_type": "forking"}, "app_service_type: forking", "exec or notify"),
    "an unknown service type": ({"app_service_type": "dbus"}, "app_service_type", "notify, notify-reload"),
    "a health check without a target": ({"app_health_check": {"timeout": 5}}, "app_health_check: give exactly one of url, tcp and command", ""),
    "a health check with two": ({"app_health_check": {"url": "http://a/", "tcp": "a:1"}}, "app_health_check: give exactly one", ""),
    "a health check on no port": ({"app_health_check": {"tcp": "localhost"}}, "app_health_check: tcp must be an address with a port", "127.0.0.1:9000"),
    "a health check for no pattern": ({"app_health_check": {"url": "http://a/", "body": "("}}, "app_health_check: body: '(' is no regular", ""),
    "a health check of no URL": ({"app_health_check": {"url": "/health"}}, "app_health_check: url must be", "http://127.0.0.1:4000/health"),
    "an unknown level": ({"app_hardening": "paranoid"}, "app_hardening", "none, baseline, strict"),
    "a folder that the app cannot see": ({"app_base_dir": "/home/apps"}, "app_base_dir: with app_hardening baseline", "for instance in /srv"),
    "a folder that others cannot see": ({"app_base_dir": "/var/tmp/apps"}, "app_base_dir: with app_hardening baseline", "a /var/tmp of its own"),
    "a relative path to protect": ({"app_inaccessible_paths": ["data"]}, "app_inaccessible_paths: 'data' is no absolute path", "-/var/lib/data"),
    "two paths in one": ({"app_read_write_paths": ["/a /b"]}, "app_read_write_paths, app_read_only_paths", "without blanks"),
    "a root without a chroot": ({"app_root_directory": "/srv/root"}, "app_root_directory: it means nothing", "app_chroot: true"),
    "a credential without a path": ({"app_load_credentials": {"token": "s3cret"}}, "app_load_credentials: give the absolute path", "/etc/shop/token"),
    "a credential without a name": ({"app_load_credentials": {"a:b": "/etc/token"}}, "app_load_credentials: the name", "letters, digits"),
    "a score out of range": ({"app_oom_score_adjust": 1001}, "app_oom_score_adjust", "from -1000 to 1000"),
    "a relative base folder": ({"app_base_dir": "srv"}, "app_base_dir", "absolute"),
    "a variable that is none": ({"app_environment": {"A B": "hidden"}}, "app_environment: 'A B' cannot be the name", "letters, digits"),
    "a directive that is none": ({"app_service_options": {"Foo Bar": 1}}, "Foo Bar is no directive", ""),
    "a script as root at boot": ({"app_runtime_environment_script": "+bin/x"}, "app_runtime_environment_script", "without a prefix"),
    "a program of the release as root": ({"app_config_sync_command": "+bin/x"}, "app_config_sync_command", "needs an absolute path"),
    "a relative file to copy": ({"app_copy_files": [{"src": "a", "dest": "etc/a"}]}, "app_copy_files, app_create_dirs", "absolute path"),
    "an unknown way to restart": ({"app_restart_method": "kill"}, "app_restart_method", "systemd_flag"),
    "a value of two lines": ({"app_service_options": {"Nice": "1\nUser=root"}}, "must be one line", ""),
}


def half(path: str) -> str:
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    return path


DEPLOY = {
    "an id that is a path": ({"app_release_id": "../x"}, "app_release_id: '../x' cannot be a release id", "use up to 64 letters"),
    "no archive": ({"app_release_src": MISSING}, "app_release_src", "there is no file or folder"),
    "an archive that is not there": (
        {"app_release_src": "/nonexistent.tar.gz"},
        "app_release_src: there is no file or folder /nonexistent.tar.gz on the controller",
        "",
    ),
    "a command that is none": ({"app_before_switch": [5]}, "app_before_switch, app_after_switch: each command is a text or a list", ""),
    "a command of two lines of a deploy": (
        {"app_after_switch": ["bin/x\nUser=root"]},
        "app_before_switch, app_after_switch: each command must be one line",
        "",
    ),
    "a checksum that is none": ({"app_release_checksum": "md5"}, "app_release_checksum: 'md5' is no SHA-256", "64 hexadecimal digits"),
    "a checksum of something else": ({"app_release_checksum": "0" * 64}, "app_release_checksum: ", "fetch or build it again"),
    "a shared path that leads out": ({"app_shared_paths": ["../etc"]}, "app_shared_paths: give paths inside the release", "public/uploads"),
    "an archive cut in half": ({"app_release_src": half(archive("cut"))}, "app_release_src: the archive was refused", ""),
    "the same id with other content": (
        {"app_release_id": "live", "app_release_src": archive("other", DEMO_STATUS="200")},
        "app_release_id: release live is already on this host with other content",
        "choose another id",
    ),
}


def snapshot(host: Host) -> str:
    """Everything that a play could change: accounts, files with their times, units."""
    places = "/srv /etc /usr/local"
    return host.check_output(
        f"getent passwd; getent group; find {places} -not -path '/srv/*/.deploy/lock' -printf '%p %M %u %g %s %T@ %l\\n' | sort; "
        "systemctl list-units --all --no-legend --plain 'refused*' 'demo*'"
    )


@pytest.mark.parametrize(("variables", "complaint", "advice"), SETUP.values(), ids=SETUP.keys())
def test_setup_refuses(host: Host, variables: dict[str, t.Any], complaint: str, advice: str) -> None:
    before = snapshot(host)
    done = playbook("setup", host, {**APP, **variables})
    assert done.returncode != 0
    assert complaint in done.stdout
    assert advice in done.stdout
    assert "hidden" not in done.stdout
    assert snapshot(host) == before


@pytest.fixture(scope="module")
def live(host: Host) -> str:
    """An app of its own with a release that is live."""
    for name in ("setup", "deploy"):
        done = playbook(name, host, {**APP, "app_release_id": "live", "app_release_src": archive("live")})
        assert done.returncode == 0, done.stdout
    return str(host.check_output("systemctl show --value --property=MainPID refused.service"))


@pytest.mark.parametrize(("variables", "complaint", "advice"), DEPLOY.values(), ids=DEPLOY.keys())
def test_deploy_refuses(host: Host, live: str, variables: dict[str, t.Any], complaint: str, advice: str) -> None:
    before = snapshot(host)
    done = playbook("deploy", host, {**APP, "app_release_id": "next", "app_release_src": archive("live"), **variables})
    assert done.returncode != 0
    assert complaint in done.stdout
    assert advice in done.stdout
    assert normalised(snapshot(host)) == normalised(before)
    assert host.check_output("systemctl show --value --property=MainPID refused.service") == live


def normalised(found: str) -> list[str]:
    """A snapshot without the times of the folders through which an archive passed on its way to be refused."""
    return [line for line in found.splitlines() if not line.startswith(("/srv/refused drwx", "/srv/refused/releases drwx"))]
