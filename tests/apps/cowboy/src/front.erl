%% SPDX-License-Identifier: GPL-3.0-or-later
%% Cowboy, and Ranch below it, with the options that docs/runtimes/erlang.md gives them.
-module(front).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, prep_stop/1, stop/1]).
-export([init/1, init/2]).

start(_Type, _Arguments) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    notify("READY=1"),
    {ok, Supervisor}.

prep_stop(State) ->
    persistent_term:put(draining, true),
    ok = ranch:suspend_listener(front),
    timer:sleep(1000),
    State.

stop(_State) ->
    ok.

init([]) ->
    Dispatch = cowboy_router:compile([{'_', [{'_', ?MODULE, []}]}]),
    Options = #{shutdown => 25000, socket_opts => [{port, 0}, family(os:getenv("APP_LISTEN_FAMILY")), {fd, 3}, {backlog, 4096}]},
    Listener = ranch:child_spec(front, ranch_tcp, Options, cowboy_clear, #{env => #{dispatch => Dispatch}}),
    {ok, {#{}, [Listener]}}.

%% A handler's: answers one request.
init(Request, State) ->
    {ok, Folder} = file:get_cwd(),
    Headers = #{<<"x-release">> => list_to_binary(filename:basename(Folder))},
    Last =
        case persistent_term:get(draining, false) of
            true -> #{<<"connection">> => <<"close">>};
            false -> #{}
        end,
    {ok, cowboy_req:reply(200, maps:merge(Headers, Last), <<"Hello\n">>, Request), State}.

family("inet") -> inet;
family("inet6") -> inet6;
family("unix") -> {tcp_module, local_tcp}.

notify(State) ->
    {ok, Socket} = gen_udp:open(0, [local]),
    ok = gen_udp:send(Socket, {local, os:getenv("NOTIFY_SOCKET")}, 0, State),
    gen_udp:close(Socket).
