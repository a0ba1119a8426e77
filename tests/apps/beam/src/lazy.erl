%% SPDX-License-Identifier: GPL-3.0-or-later
%% Compiled with the id of its release, so that whoever calls it can tell which one was loaded.
-module(lazy).
-export([release/0]).

release() -> ?RELEASE.
