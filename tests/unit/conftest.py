# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hypothesis

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
