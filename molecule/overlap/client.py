# SPDX-License-Identifier: GPL-3.0-or-later
"""A client on the test host itself."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from testinfra.host import Host


def ask(host: Host, path: str = "/", *, port: int = 4960) -> dict[str, str]:
    """Asks over a new connection; returns the headers and the status."""
    script = f"import urllib.request as u; a = u.urlopen('http://127.0.0.1:{port}{path}'); print(a.status); print(a.headers)"
    status, *headers = host.check_output(f'python3 -c "{script}"').splitlines()
    return {"status": status, **dict(line.split(": ", 1) for line in headers if ": " in line)}
