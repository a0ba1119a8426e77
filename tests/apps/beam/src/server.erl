%% SPDX-License-Identifier: GPL-3.0-or-later
%% An HTTP server on the socket that systemd passes: it says when it is ready, and drains on SIGTERM.
%% /slow?SECONDS takes as long as it says, and then calls a module that nothing has called before.
-module(server).
-behaviour(gen_event).
-export([start/0, init/1, handle_event/2, handle_call/2]).

start() ->
    spawn(fun() ->
        %% Port 0: the address is the socket's own. Without a backlog listen() would lower it to 5.
        {ok, Listener} = gen_tcp:listen(0, [{fd, 3}, {backlog, 4096}, {packet, http_bin}, {active, false}, binary]),
        ok = gen_event:swap_handler(erl_signal_server, {erl_signal_handler, []}, {?MODULE, Listener}),
        say_ready(),
        accept(Listener, [])
    end).

init({Listener, _}) -> {ok, Listener}.

handle_event(sigterm, Listener) ->
    gen_tcp:close(Listener),
    {ok, Listener};
handle_event(_, Listener) ->
    {ok, Listener}.

handle_call(_, Listener) -> {ok, ok, Listener}.

say_ready() ->
    {ok, Socket} = gen_udp:open(0, [local]),
    ok = gen_udp:send(Socket, {local, os:getenv("NOTIFY_SOCKET")}, 0, <<"READY=1">>),
    gen_udp:close(Socket).

accept(Listener, Answering) ->
    case gen_tcp:accept(Listener) of
        {ok, Connection} ->
            {Process, Monitor} = spawn_monitor(fun() -> receive go -> answer(Connection) end end),
            ok = gen_tcp:controlling_process(Connection, Process),
            Process ! go,
            accept(Listener, [Monitor | Answering]);
        {error, closed} ->
            [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Answering],
            init:stop()
    end.

answer(Connection) ->
    {ok, {http_request, _, {abs_path, Path}, _}} = gen_tcp:recv(Connection, 0),
    ok = skip_headers(Connection),
    Called =
        case Path of
            <<"/slow?", Seconds/binary>> ->
                timer:sleep(binary_to_integer(Seconds) * 1000),
                ["X-Lazy: ", lazy:release(), "\r\n"];
            _ ->
                []
        end,
    {ok, Folder} = file:get_cwd(),
    gen_tcp:send(Connection, [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nX-Release: ", filename:basename(Folder), "\r\n", Called, "\r\n"
    ]),
    gen_tcp:close(Connection).

skip_headers(Connection) ->
    case gen_tcp:recv(Connection, 0) of
        {ok, http_eoh} -> ok;
        {ok, _} -> skip_headers(Connection)
    end.
