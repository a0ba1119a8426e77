# SPDX-License-Identifier: GPL-3.0-or-later
"""The test app again, for a server that brings its own processes: same settings, same answer, same time to start."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SETTINGS = dict(line.split("=", 1) for line in (FOLDER / "demo.env").read_text().splitlines() if "=" in line)
BODY = f"release {FOLDER.name}\n".encode()
HEADERS = [("X-Release", FOLDER.name), ("X-Pid", str(os.getpid())), ("Content-Length", str(len(BODY)))]

time.sleep(float(SETTINGS.get("DEMO_START_SECONDS", "0")))


def application(environ: dict[str, t.Any], start_response: t.Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(float(SETTINGS.get("DEMO_REQUEST_SECONDS", "0.005")))
    start_response("200 OK", HEADERS)
    return [BODY]
