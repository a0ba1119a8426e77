# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients on a test host that ask an app all the time while something else happens."""

from __future__ import annotations

import contextlib
import typing as t

if t.TYPE_CHECKING:
    from testinfra.host import Host

# Asks the port that is its argument 20 times a second, whether or not it has been answered, and writes down the status
# of each answer; on SIGTERM it waits for what is still to come.
KEEP_ASKING = """
import asyncio, signal, sys

async def ask():
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        writer.write(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
        words = (await reader.read()).decode().split()
        writer.close()
        print(words[1] if words else "lost", flush=True)
    except ConnectionRefusedError:
        print("refused", flush=True)
    except OSError:
        print("lost", flush=True)

async def main():
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    asked = []
    while not enough.is_set():
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.05)
    await asyncio.gather(*asked)

asyncio.run(main())
"""


@contextlib.contextmanager
def asked_all_the_time(host: Host, port: int) -> t.Iterator[list[str]]:
    """What clients get meanwhile, known at the end: the status of each answer, or that it was refused or lost."""
    seen: list[str] = []
    unit, output = f"clients-{port}", f"/run/clients-{port}"
    run = f"systemd-run --quiet --collect --unit={unit} --property=StandardOutput=file:{output} python3 -c %s {port}"
    host.check_output(f"rm -f {output} && {run}", KEEP_ASKING)
    try:
        yield seen
    finally:
        host.check_output(f"systemctl stop {unit}")
    seen += host.check_output(f"cat {output}").split()
