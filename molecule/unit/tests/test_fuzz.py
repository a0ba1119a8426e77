# SPDX-License-Identifier: GPL-3.0-or-later
"""Either systemd takes a unit file whole, or the module has refused it; nothing is ever ignored in part."""

from __future__ import annotations

import random
import typing as t

CASES = 150
KEYS = {
    "Unit": ["Description", "After", "Wants", "StartLimitIntervalSec", "ConditionPathExists", "OnFailure", "Descripton", "JobTimeoutSec"],
    "Service": [
        *["Type", "Restart", "RestartSec", "User", "WorkingDirectory", "NonBlocking", "Environment", "MemoryMax", "Nice", "UMask", "LimitNOFILE"],
        *["TimeoutStopSec", "KillMode", "KillSignal", "EnvironmentFile", "ExecStartPre", "ProtectSystem", "CPUQuota", "StandardOutput", "ReadWritePaths"],
        *["RuntimeDirectory", "SystemCallFilter", "CapabilityBoundingSet", "Foo", "ListenStream", "RestartMode", "TasksMax", "OOMScoreAdjust"],
    ],
    "Install": ["WantedBy", "Alias", "WantedBye"],
    "Servise": ["Type"],
    "Socket": ["ListenStream"],
    "X-Site": ["Anything"],
}
VALUES = [
    *["yes", "no", True, False, "banana", 0, 1, -1, 3.5, "1G", "10%", "5s", "1min 2s", "", [], None, "always", "notify", "exec", "strict", "root"],
    *["/tmp", "relative/path", "/no/such/place", "~", "a b", "%n", "%", "%%", "%Q", "$X", '"', "'", "'unbalanced", "\\x", "trailing\\", "two\nlines", "\0"],
    *["A=b", "A B", "=b", '"A=b c"', ["a.service", "b.service"], ["a", "", "b"], ["/bin/true", "x"], ["-/bin/true"], {"A": "b"}, {"A B": "c"}, "infinity"],
    *["SIGTERM", "SIGNOPE", "0022", "9999", "@system-service", "~@clock", "CAP_CHOWN", "CAP_NOPE", "-/etc/x", "null", "é", "\u2028", "\x01", "\x85", "\ufffe"],
    *["/bin/true ;", "/bin/true \\; x", "/bin/true ; /bin/false", "!/bin/true", "nosuchuser", "multi-user.target", ["multi-user.target"], 2**70],
]


# So that units come about which are whole, and not only such as are refused for one value of many.
GOOD: dict[str, t.Any] = {
    **{"Description": "a b", "After": ["a.service", "b.service"], "Wants": "a.service", "StartLimitIntervalSec": 0, "ConditionPathExists": "!/x"},
    **{"OnFailure": "a.service", "JobTimeoutSec": "5s", "Type": "exec", "Restart": "always", "RestartSec": "1min 2s", "User": "root"},
    **{"WorkingDirectory": "/tmp", "NonBlocking": True, "Environment": {"A": "b % c"}, "MemoryMax": "10%", "Nice": 5, "UMask": "0022"},
    **{"LimitNOFILE": 1024, "TimeoutStopSec": "infinity", "KillMode": "mixed", "KillSignal": "SIGINT", "EnvironmentFile": "-/etc/x"},
    **{"ExecStartPre": ["-/bin/true", "%h $X", "a\\"], "ProtectSystem": "strict", "CPUQuota": "50%", "StandardOutput": "journal"},
    **{"ReadWritePaths": ["/tmp", "-/var"], "RuntimeDirectory": "a b", "SystemCallFilter": ["@system-service", "~@clock"]},
    **{"CapabilityBoundingSet": "CAP_CHOWN", "TasksMax": 100, "OOMScoreAdjust": -5, "WantedBy": "multi-user.target", "Alias": "x.service"},
}


def section(chance: random.Random, name: str) -> dict[str, t.Any]:
    keys = chance.sample(KEYS[name], min(len(KEYS[name]), chance.randint(1, 4)))
    return {key: GOOD[key] if key in GOOD and chance.random() < 0.85 else chance.choice(VALUES) for key in keys}


def sections(chance: random.Random) -> dict[str, t.Any]:
    others = [name for name in ("Unit", "Install", "X-Site") if chance.random() < 0.5] + [name for name in ("Servise", "Socket") if chance.random() < 0.05]
    found: dict[str, t.Any] = {name: section(chance, name) for name in others}
    return {**found, "Service": {"ExecStart": "/bin/true", **section(chance, "Service")}}


def test_what_the_module_takes_systemd_takes_whole(inside: t.Callable[[str, t.Any], t.Any]) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    cases = [sections(chance) for _case in range(CASES)]
    found = inside("fuzz", cases)
    assert found["complaints"] == [], f"seed {seed}"
    assert set(found["states"].values()) == {"loaded"}, f"seed {seed}: {found['states']}"
    assert len(found["states"]) + len(found["refused"]) == CASES
    # The test would say nothing if the module refused everything.
    assert CASES / 20 < len(found["states"]) < CASES * 19 / 20
