"""A new user's first minutes: what docs/first-minutes.md says is typed in a fresh clone, with an
empty home, and timed. Packages are downloaded; `~/notes` holds this project's own pages. PyTorch
is linked from here unless `--torch` says to download it too: where no index offers a build for
processors alone, pip brings gigabytes of CUDA with it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.claims import ROOT, Result, at_most
from bench.harness import Bench, Context
from bench.ports import claim_offset
from realm.errors import DependencyUnavailable
from services.standalone.cluster import HOST, PORTS
from tools.locked import entries

VENV, LOCK = ".venv", ROOT / "constraints.txt"
PAGE = ROOT / "docs" / "first-minutes.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASKS, SAVES, FINDS = "realm ask", "echo", 'search "parrot'
#: What these print once they have succeeded.
EXPECTED = {ASKS: "p(y|x)", SAVES: "", FINDS: "kea.md"}
#: Of the environment, what says how packages are fetched here.
KEPT = ("PIP_", "SSL_", "REQUESTS_", "http", "HTTP", "no_proxy", "NO_PROXY", "LANG")
PATIENCE_SECONDS = 600.0
AGAIN_SECONDS = 0.5
END_SECONDS = 180.0
MOST_SECONDS, MOST_SAVED_SECONDS = 180.0, 10.0
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Parameters:
    """`torch`: PyTorch is downloaded too. `judge_time`: nothing else runs on the machine."""

    torch: bool
    judge_time: bool


@dataclass(frozen=True, slots=True)
class Step:
    """`after` and `seconds` are those from the beginning and of the last try; `tries` counts them
    all: a newcomer asks again until there is something to answer with."""

    command: str
    after: float
    seconds: float
    tries: int
    said: str


@dataclass(frozen=True, slots=True)
class Observed:
    steps: list[Step]
    load: float


def observe(parameters: Parameters, context: Context) -> Observed:
    """:raises DependencyUnavailable: if a command never succeeds."""
    load = psutil.getloadavg()[0]
    clone, home = context.folder / "realm", context.folder / "home"
    home.mkdir()
    shutil.copytree(ROOT / "docs", home / "notes", ignore=lambda _, names: _no_pages(names))
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    steps = [Step("git clone … realm", _since(began), _since(began), 1, "")]
    if not parameters.torch:
        subprocess.run(["make", "--quiet", f"{VENV}/venv.done"], cwd=clone, check=True)
        link_torch(clone / VENV)
    offset, claim = claim_offset()
    shell = Shell(clone, home, offset)
    first, *rest = typed(PAGE.read_text(encoding="utf-8"))
    with claim, shell.running(first) as cluster:
        steps += [shell.types(each, began, cluster) for each in rest]
    return Observed(steps, load)


def _no_pages(names: list[str]) -> list[str]:
    return [name for name in names if "." in name and not name.endswith(".md")]


def link_torch(venv: Path) -> None:
    """PyTorch and what it alone brings are in an environment as if they were installed there."""
    linked = venv / "linked"
    linked.mkdir()
    for package in _brought("torch"):
        for part in {Path(str(file)).parts[0] for file in package.files or ()} - {".."}:
            if not (linked / part).exists():
                (linked / part).symlink_to(str(package.locate_file(part)))
    (packages,) = venv.glob("lib/python3*/site-packages")
    (packages / "linked.pth").write_text(f"{linked}\n")


def _brought(name: str) -> list[Distribution]:
    """A package, and what it needs that is not pinned: builds for processors do without."""
    pinned = {lines[0].partition("==")[0] for lines, _ in entries(LOCK.read_text())}
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        known = canonicalize_name(waiting.pop())
        if known in found or (known in pinned and known != name):
            continue
        with suppress(PackageNotFoundError):
            found[known] = distribution(known)
            waiting += [Requirement(each).name for each in found[known].requires or ()]
    return list(found.values())


def typed(page: str) -> list[str]:
    """The page's commands, in order."""
    return [line for block in BLOCK.findall(page) for line in block.splitlines() if line.strip()]


def _since(began: float) -> float:
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class FirstTerminal:
    """The command that runs there, and its output."""

    process: subprocess.Popen[bytes]
    log: Path


@dataclass(frozen=True, slots=True)
class Shell:
    """A new user's, with ports of its own where the pages name the usual ones."""

    clone: Path
    home: Path
    offset: int

    @contextmanager
    def running(self, command: str) -> Iterator[FirstTerminal]:
        """The command of the first terminal."""
        log = self.home / "run.log"
        with log.open("wb") as output:
            process = self._start(f"{command} PORT_OFFSET={self.offset}", output.fileno())
            try:
                yield FirstTerminal(process, log)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(END_SECONDS)
                finally:
                    process.kill()

    def types(self, command: str, began: float, cluster: FirstTerminal) -> Step:
        """Until it succeeds.

        :raises DependencyUnavailable: if the cluster ends, or it does not succeed in time, with
            what the cluster said.
        """
        tries, said = 0, ""
        wanted = next((EXPECTED[start] for start in EXPECTED if start in command), "")
        while _since(began) < PATIENCE_SECONDS and cluster.process.poll() is None:
            tries, tried = tries + 1, time.monotonic()
            process = self._start(command, subprocess.PIPE)
            said = process.communicate(timeout=PATIENCE_SECONDS)[0].decode()
            if process.returncode == 0 and wanted in said:
                return Step(command, _since(began), _since(tried), tries, said)
            time.sleep(AGAIN_SECONDS)
        raise DependencyUnavailable(f"{command}: {said}\n{cluster.log.read_text()[-1000:]}")

    def _start(self, command: str, output: int) -> subprocess.Popen[bytes]:
        for port in (PORTS["web"], PORTS["gateway"]):
            command = command.replace(f"{HOST}:{port}", f"{HOST}:{port + self.offset}")
        kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        own = {"HOME": str(self.home), "PATH": PATH}
        gateway = {"REALM_GATEWAY_ADDRESS": f"{HOST}:{PORTS['gateway'] + self.offset}"}
        return subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.clone,
            env={**kept, **own, **gateway},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def judge(parameters: Parameters, observed: Observed) -> Result:
    steps = observed.steps
    figures = {
        "load": observed.load,
        "torch": "downloaded" if parameters.torch else "linked from here",
        "after_seconds": {each.command: round(each.after, 1) for each in steps},
        "tries": {each.command: each.tries for each in steps},
        "said": [each.said for each in steps],
    }
    after = {name: _step(steps, name).after for name in (ASKS, SAVES, FINDS)}
    if not parameters.judge_time:
        return Result(figures, [])
    saved = after[FINDS] - after[SAVES]
    return Result(
        figures,
        [
            at_most("seconds from nothing to an answer", after[ASKS], MOST_SECONDS),
            at_most("seconds until a saved file is found", saved, MOST_SAVED_SECONDS),
        ],
    )


def _step(steps: list[Step], name: str) -> Step:
    """The first that types it."""
    return next(each for each in steps if name in each.command)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(torch=False, judge_time=True),
    quick=Parameters(torch=False, judge_time=False),
    observe=observe,
    judge=judge,
    options={"torch": "download PyTorch too"},
)
