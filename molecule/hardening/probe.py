# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app of this scenario says that it could do, when it tried."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from apps import App


def probed(app: App, program: str = "bin/probe") -> dict[str, str]:
    """What came of each word of PROBES in the app's environment: True, an error, or what the app has read."""
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{app.port}/run?{program}').read().decode())"
    return dict(line.rsplit(" ", 1) for line in app.host.check_output("python3 -c %s", script).splitlines())
