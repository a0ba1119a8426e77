# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts by their Debian, the oldest and newest systemd first and last, for modules that say where a usual run has them (conftest.py)."""

import os

# Whether nothing is to be left out for time.
EVERYWHERE = bool(os.environ.get("EVERYWHERE"))
OLDEST = "podman://holdfast-bullseye"
OLDSTABLE = "podman://holdfast-bookworm"
STABLE = "podman://holdfast-trixie"
NEWEST = "podman://holdfast-forky"
