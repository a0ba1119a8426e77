# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what a page of docs/runtimes says, and watches its clients while releases change.

What runs is what stands in the page: its code blocks are the release, how it is built, and the variables of the role. A
block is a file when the paragraph before it ends with a colon and names it, as in "The app, `server.py`:". Three names
mean something else: `group_vars/app.yml` holds the variables, `packages` the line that installs what Debian has, and
`build` the script that makes a release of the other files. It leaves the release in its folder, or in ./release.

A page's app answers GET and POST of / with status 200 and the header X-Release: the last part of its working folder.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import functools
import hashlib
import io
import re
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import yaml

from playbooks import ROOT, SCRATCH, playbook
from versions import EVERYWHERE

sys.path.insert(0, str(ROOT / "tests" / "load"))

from load import Load

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from load import Report, Request

    # Spoils a release in a folder of the controller, or the file of a release that is to end at once.
    Broken = t.Callable[[Path], None] | str | None

DOCS = ROOT / "docs" / "runtimes"
# Files whose names look like any other word.
PLAIN_NAMES = {"build", "packages", "Gemfile", "Makefile", "Rakefile"}
# A program of such a file that ends at its start; whatever has another suffix can be a script.
ENDS_AT_ONCE = {
    ".py": "raise SystemExit(1)\n",
    **dict.fromkeys((".js", ".mjs", ".cjs"), "process.exit(1)\n"),
    **dict.fromkeys((".rb", ".ru"), "exit 1\n"),
}
SCRIPT_THAT_ENDS_AT_ONCE = "#!/bin/sh\nexit 1\n"
# Connects twice, one of them asks something, and both ask after the service has been told to restart.
ASK_WHILE_IT_STOPS = """
import http.client, subprocess, sys, time
clients = [http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20) for _number in range(2)]
for client in clients:
    client.connect()
    # Else it would connect again by itself.
    client.auto_open = False
clients[0].request("GET", "/")
clients[0].getresponse().read()
subprocess.run(["systemctl", "restart", "--no-block", sys.argv[2]], check=True)
time.sleep(0.4)
for client in clients:
    client.request("GET", "/")
    print(client.getresponse().status)
"""
BACKLOG = 4096
QUIET_SECONDS = 6
# How many good releases each strategy gets: a usual run has time for one.
GOOD_RELEASES = 2 if EVERYWHERE else 1


@dataclasses.dataclass(frozen=True)
class Page:
    """Where a page is tried, what breaks its release (see story()), and how many clients may wait while its app runs.

    CI tries it on one suite, and `make runtimes` on both.
    """

    port: int
    suite: str
    broken: Broken = None
    backlog: int = BACKLOG


# Each with a port of its own, so that they can be on one host.
PAGES = {
    "asyncio": Page(4810, "bookworm"),
    # By its command it would be the configuration, and an app that does not load is what gunicorn should notice.
    "gunicorn": Page(4811, "bookworm", broken="shop.py"),
    "uvicorn": Page(4812, "trixie"),
    "hypercorn": Page(4813, "trixie"),
    "node": Page(4816, "trixie"),
    "go": Page(4818, "bookworm"),
    # Its command names no file of the release.
    "puma": Page(4820, "bookworm", broken="config.ru"),
    "erlang": Page(4800, "bookworm"),
    "elixir": Page(4801, "trixie"),
}


class Guide:
    """What a page has in its code blocks."""

    def __init__(self, path: Path) -> None:
        blocks = _named_blocks(path.read_text())
        self.name = path.stem
        self.variables: dict[str, t.Any] = yaml.safe_load(blocks.pop("group_vars/app.yml"))
        self.build = blocks.pop("build", "")
        self.packages = blocks.pop("packages", "")
        self.files = blocks


def _named_blocks(page: str) -> dict[str, str]:
    found: dict[str, str] = {}
    parts = re.split(r"^```[^\n]*\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    for text, block in zip(parts[::2], parts[1::2]):
        paragraph = text.rstrip().rpartition("\n\n")[2]
        named = re.search(r"`([\w./-]+)`[^`]*:\Z", paragraph)
        if named and (named[1] in PLAIN_NAMES or re.search(r"\w[./]\w", named[1])):
            if named[1] in found:
                raise ValueError(f"two blocks of the page are {named[1]}, so nobody could tell which one counts")
            found[named[1]] = block
    return found


@dataclasses.dataclass(frozen=True)
class Phase:
    """What became of the requests between the beginning of a deploy and that of the next one, and what the deploy left."""

    name: str
    requests: int
    failures: dict[str, int]
    slowest: float
    quiet_slowest: float
    # How the playbook ended and what it said; it succeeds unless the release is broken.
    succeeded: bool
    said: str
    # The release that was to answer afterwards, and the one that did.
    wanted: str
    release: str
    # Whether the main process is another one than before.
    restarted: bool
    backlog: int

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def is_broken(self) -> bool:
        return "broken" in self.name

    @property
    def is_overlap(self) -> bool:
        return "overlap" in self.name


@dataclasses.dataclass(frozen=True)
class Story:
    """A page's app that was deployed under load. It still runs when this is told."""

    app: App
    phases: list[Phase]
    # From the start of the main process until systemd called it active, in seconds: the median of all starts.
    start_up: float
    # The fewest clients that might wait at any of the phases' ends, while the app ran.
    backlog: int
    # How often each release answered.
    releases: dict[str, int]
    socket_kept: bool
    # What the doctor said of the app at the end, if it said that the next deploy would go wrong.
    findings: str
    # For how long this machine stood still at most, in seconds.
    standstill: float

    def slowest(self, strategy: str) -> float:
        """In seconds, of the good releases that took over in this way."""
        return max(phase.slowest for phase in self.phases if phase.name.startswith(strategy) and not phase.is_broken)


def check(story: Story, *, backlog: int = BACKLOG) -> None:
    """Fails unless the page's app kept all that the collection promises of it."""
    wrong = []
    # It tells whoever looks for the cause whether the clients could come as often as they should.
    still = f"the machine stood still for {story.standstill:.1f} s at most"
    for phase in story.phases:
        if not phase.requests:
            wrong.append(f"{phase.name}: there was no request, so this proves nothing")
        if phase.failed:
            wrong.append(f"{phase.name}: {phase.failed} of {phase.requests} requests failed: {phase.failures}; {still}")
        if phase.succeeded == phase.is_broken:
            wrong.append(f"{phase.name}: the playbook {'succeeded' if phase.succeeded else 'failed'}: {phase.said[-4000:]}")
        if phase.release != phase.wanted:
            wrong.append(f"{phase.name}: release {phase.release} answers, and not {phase.wanted}")
        if phase.is_broken and phase.is_overlap and phase.restarted:
            wrong.append(f"{phase.name}: the live release was touched")
        if not phase.is_broken and not phase.restarted:
            wrong.append(f"{phase.name}: the main process is the one of the release before")
    if any("broken" in release for release in story.releases):
        wrong.append(f"clients have seen a broken release: {story.releases}")
    if not story.socket_kept:
        wrong.append("the socket unit was restarted")
    if story.findings:
        wrong.append(f"the doctor found something in an app that is well: {story.findings[-4000:]}")
    if story.backlog != backlog:
        wrong.append(f"only {story.backlog} clients may wait while the app runs, and not {backlog}")
    # Of an app that starts faster the difference is smaller than what else happens on the machine.
    if story.start_up > 1 and story.slowest("overlap") >= story.slowest("restart"):
        wrong.append(f"a client waited for {story.slowest('overlap'):.2f} s in overlap, which is no less than in a restart; {still}")
    assert not wrong, "\n".join(wrong)


def told(host: Host, name: str, *, good_releases: int = GOOD_RELEASES) -> Story:
    """The story of one of the PAGES, on this host."""
    return story(host, Guide(DOCS / f"{name}.md"), port=PAGES[name].port, name=f"page-{name}", broken=PAGES[name].broken, good_releases=good_releases)


def story(host: Host, guide: Guide, *, port: int, name: str, broken: Broken = None, good_releases: int = GOOD_RELEASES) -> Story:
    """Sets the page's app up on a host and deploys it under load: by restart, by overlap, each also with a broken release, and back.

    `name` is what its units, accounts and folders are called. A release is broken by `broken`; without it, the first file
    of the release that the app's command names is replaced by a program that ends at once. `good_releases` is how
    many of them each strategy gets.
    """
    app = App(host, guide, port=port, name=name)
    app.begin_anew()
    app.install_packages()
    expect(playbook("setup", host, app.variables))
    good, bad = app.build(), app.build_broken(broken)
    expect(app.deploy("first", good))
    socket_since = app.shown("socket", "ActiveEnterTimestampMonotonic")
    # What is done, and the release that is to answer afterwards.
    steps: list[tuple[str, str, t.Callable[[], subprocess.CompletedProcess[str]]]] = []
    releases = []
    for strategy in ("restart", "overlap"):
        deploy = functools.partial(app.deploy, app_switch=strategy)
        for number in range(good_releases):
            releases.append(f"{strategy}-{number}")
            steps.append((f"{strategy}{' again' * number}", releases[-1], functools.partial(deploy, releases[-1], good)))
        steps.append((f"{strategy}, broken", releases[-1], functools.partial(deploy, f"broken-{strategy}", bad)))
    steps.append(("rollback", releases[-2], lambda: playbook("rollback", host, app.variables)))
    seen: list[dict[str, t.Any]] = []
    times: list[float] = []
    start_ups: list[float] = []
    with _standstill() as standstill, app.under_load() as reports:
        time.sleep(QUIET_SECONDS)
        for title, wanted, do in steps:
            process = app.shown("service", "MainPID")
            times.append(time.time())
            done = do()
            left = {"release": app.answers(), "restarted": app.shown("service", "MainPID") != process, "backlog": app.backlog()}
            seen.append({"name": title, "succeeded": done.returncode == 0, "said": done.stdout, "wanted": wanted, **left})
            start_ups.append(app.start_up())
        # Who waits for the last one is answered too.
        time.sleep(2)
    examined = app.examine()
    quiet, *windows = _windows(reports[0].requests, times)
    return Story(
        app=app,
        phases=[_phase(found, window, _slowest(quiet)) for found, window in zip(seen, windows)],
        start_up=statistics.median(start_ups),
        backlog=min(found["backlog"] for found in seen),
        releases=reports[0].releases,
        socket_kept=app.shown("socket", "ActiveEnterTimestampMonotonic") == socket_since,
        findings=examined.stdout if examined.returncode else "",
        standstill=standstill[0],
    )


@contextlib.contextmanager
def _standstill() -> t.Iterator[list[float]]:
    """The longest time, in seconds, by which somebody who only sleeps was woken too late."""
    longest = [0.0]
    over = threading.Event()

    def sleep() -> None:
        nap = 0.05
        while not over.is_set():
            lay_down = time.monotonic()
            time.sleep(nap)
            longest[0] = max(longest[0], time.monotonic() - lay_down - nap)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    try:
        yield longest
    finally:
        over.set()
        sleeper.join()


def _windows(requests: list[Request], times: list[float]) -> list[list[Request]]:
    """The requests by when they ended: those before the first of these times, and those from each one on."""
    found: list[list[Request]] = [[] for _number in range(len(times) + 1)]
    for request in requests:
        found[bisect.bisect(times, request.ended)].append(request)
    return found


def _phase(found: dict[str, t.Any], requests: list[Request], quiet_slowest: float) -> Phase:
    failures = collections.Counter(request.error or f"status {request.status}" for request in requests if request.failed)
    return Phase(**found, requests=len(requests), failures=dict(failures), slowest=_slowest(requests), quiet_slowest=quiet_slowest)


def _slowest(requests: list[Request]) -> float:
    return max((request.seconds for request in requests), default=0.0)


def expect(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout


class App:
    """The app of a page on a host, under a name and at a port of its own."""

    def __init__(self, host: Host, guide: Guide, *, port: int, name: str) -> None:
        self.host = host
        self.container = str(host.backend.get_hostname())
        self.guide = guide
        self.port = port
        self.variables = {**_elsewhere(guide.variables, port, name), "app_hosts": self.container}
        self.name = name
        # What was built of the same before is still good.
        content = repr([guide.files, guide.build, guide.packages])
        self.folder = f"/var/tmp/{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    @property
    def address(self) -> str:
        return subprocess.run([ROOT / "tools/container", "address", self.container], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def shown(self, kind: str, name: str) -> str:
        """What systemd shows of the app's service or socket."""
        return str(self.host.check_output(f"systemctl show --value --property={name} {self.name}.{kind}"))

    @contextlib.contextmanager
    def under_load(self) -> t.Iterator[list[Report]]:
        """Clients from outside; what became of their requests is known at the end."""
        until = SCRATCH / f"{self.container}-{self.name}-ended"
        until.unlink(missing_ok=True)
        reports: list[Report] = []
        # It shares the machine with all else, and measures what clients wait for and not how much an app can do.
        load = Load(f"http://{self.address}:{self.port}/", seconds=1800, clients=24, pause=0.2, until=until)
        try:
            yield reports
        finally:
            until.touch()
            reports.append(load.wait())

    def begin_anew(self) -> None:
        """Removes what an earlier story has left."""
        if self.host.run(f"test -e /srv/{self.name}").rc == 0:
            self.remove()

    def remove(self) -> None:
        expect(playbook("remove", self.host, {**self.variables, "app_remove_data": True}))

    def install_packages(self) -> None:
        words = shlex.split(self.guide.packages, comments=True)
        wanted = " ".join(word for word in words[words.index("install") + 1 :] if not word.startswith("-")) if words else ""
        if wanted and self.host.run(f"dpkg --status {wanted}").rc:
            # Another page's packages may be under way on the same host.
            self.host.check_output('echo \'Acquire::Retries "10"; DPkg::Lock::Timeout "300";\' >/run/patient-apt')
            install = f"flock /run/patient-apt sh -c {shlex.quote(f'apt-get update -qq; {self.guide.packages}')}"
            self.host.check_output(f"export APT_CONFIG=/run/patient-apt DEBIAN_FRONTEND=noninteractive; {install}")

    def build(self) -> str:
        """Builds a release as the page says, and returns its archive on the host."""
        archive = f"{self.folder}/good.tar.gz"
        if self.host.run(f"test -e {archive}").rc:
            self.host.check_output(f"rm -rf {self.folder}; mkdir -p {self.folder}/source")
            self._inside("tar", "--extract", f"--directory={self.folder}/source", given=_packed(self.guide.files))
            self._inside("sh", "-euc", f"cd {self.folder}/source\n{self.guide.build}")
            self.host.check_output(f"cd {self.folder}; mv $(test -d source/release && echo source/release || echo source) content")
            # Under its name only when it is whole.
            self.host.check_output(f"tar --create --gzip --file {archive}.part --directory {self.folder}/content . && mv {archive}.part {archive}")
        return archive

    def build_broken(self, broken: Broken) -> str:
        """The same release, and something of it is broken; see story()."""
        if callable(broken):
            return self.build_changed("broken", broken)
        path = broken or self.main_file()
        text = ENDS_AT_ONCE.get(Path(path).suffix, SCRIPT_THAT_ENDS_AT_ONCE)
        # In its place, so that its mode stays.
        return self.build_changed("broken", lambda content: (content / path).write_text(text))

    def build_changed(self, name: str, change: t.Callable[[Path], t.Any]) -> str:
        """The same release after a change of its content, which is brought to the controller for that."""
        archive = f"{self.folder}/{name}.tar.gz"
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            content = Path(folder, "content")
            content.mkdir()
            packed = self._inside("tar", "--create", f"--directory={self.folder}/content", ".")
            subprocess.run(["tar", "--extract", "--directory", content], input=packed, check=True)
            change(content)
            packed = subprocess.run(["tar", "--create", "--gzip", "--directory", content, "."], check=True, stdout=subprocess.PIPE).stdout
            self._inside("sh", "-c", f"cat >{archive}", given=packed)
        return archive

    def main_file(self) -> str:
        """The first file of the release that the command of the service names, as a path or as a module of Python."""
        words = re.findall(r"[\w./:-]+", self.shown("service", "ExecStart").partition("argv[]=")[2].partition(";")[0])
        modules = [f"{word.partition(':')[0].replace('.', '/')}.py" for word in words if ":" in word]
        named = [word for word in words + modules if not word.startswith(("/", "-"))]
        # A link leads out of the release, as that of a venv to its Python does.
        found = self.host.run(f"cd {self.folder}/content; for file in {' '.join(named)}; do [ -L $file ] || [ ! -f $file ] || echo $file; done").stdout
        assert found, f"none of {named} is a file of the release, so say what breaks it"
        return str(found).split()[0]

    def deploy(self, release: str, archive: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        given = {"app_release_id": release, "app_release_src": archive, "app_release_remote_src": True}
        return playbook("deploy", self.host, {**self.variables, **given, **variables})

    def examine(self) -> subprocess.CompletedProcess[str]:
        """Lets the doctor look at the app and try a second instance of it; fails if the next deploy would go wrong."""
        return playbook("doctor", self.host, {**self.variables, "app_doctor_try": True, "app_doctor_fail": True})

    def answers(self) -> str:
        """The release that answers now."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{self.port}/', timeout=60).headers['X-Release'])"
        return str(self.host.check_output(f'python3 -c "{script}"')).strip()

    def ask_while_it_stops(self) -> list[str]:
        """What two clients get who are connected when the app is told to stop, and ask only then; one has asked before."""
        asked = self.host.run("python3 -c %s %s %s", ASK_WHILE_IT_STOPS, str(self.port), f"{self.name}.service")
        self.host.check_output(f"systemctl start {self.name}.service")
        return str(asked.stdout).split() or [asked.stderr]

    def backlog(self) -> int:
        """How many clients may wait now, as the kernel has it; the app's own listen() may have changed it."""
        return int(self.host.check_output(f"ss --no-header --listening --numeric --tcp 'sport = :{self.port}'").split()[2])

    def start_up(self) -> float:
        begun, active = (int(self.shown("service", name)) for name in ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"))
        return (active - begun) / 1e6

    def _inside(self, *command: str, given: bytes = b"") -> bytes:
        done = subprocess.run(["podman", "exec", "--interactive", self.container, *command], input=given, capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
        return done.stdout


def _packed(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            entry.mode = 0o755 if text.startswith("#!") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def _elsewhere(variables: dict[str, t.Any], port: int, name: str) -> dict[str, t.Any]:
    """The page's variables with another port and another name, where clients from outside are let in."""
    own = str(variables["app_name"])
    first = variables["app_listen"][0]
    own_port = re.search(r"\d+\Z", str(first["listen"] if isinstance(first, dict) else first))
    assert own_port, f"{first} has no port that clients could come to"
    moved = {
        # All that stands for the app on a host: its units, accounts and folders.
        rf"(?<=/srv/|/run/|/etc/){re.escape(own)}(?=/|$)": name,
        rf"(?<![\d.]){own_port[0]}(?![\d.])": str(port),
    }

    def change(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: change(each) for key, each in value.items()}
        if isinstance(value, list):
            return [change(each) for each in value]
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return value
        text = str(value)
        for old, new in moved.items():
            text = re.sub(old, new, text)
        return type(value)(text)

    changed: dict[str, t.Any] = change(variables)
    let_in = yaml.safe_load(yaml.safe_dump(changed["app_listen"]).replace("127.0.0.1:", "0.0.0.0:").replace("[::1]:", "[::]:"))
    # The command may say the app's name, so that stays.
    return {**changed, "app_listen": let_in, "app_ext_name": name}
