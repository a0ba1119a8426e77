%% SPDX-License-Identifier: GPL-3.0-or-later
{application, front, [
    {description, "Cowboy on the socket that systemd passes"},
    {vsn, "1.0.0"},
    {modules, [front]},
    {registered, []},
    {applications, [kernel, stdlib, cowboy]},
    {mod, {front, []}}
]}.
