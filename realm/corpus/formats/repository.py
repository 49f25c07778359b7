"""Git repositories: `git:URL`, or `git:FOLDER` of one, and `@BRANCH` behind it. What is committed
is read as a folder's files are; what is ignored, or not committed yet, is not."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from realm.corpus.containers import NAMED, Folder
from realm.errors import DependencyUnavailable, InvalidInput

#: A path keeps one slash of two or three.
_SLASHES = re.compile(r"^([a-z+]+:)/(?=[^/])")
_FILE = "file:"
#: A branch or a tag behind the last slash, as of `…/kea.git@main`.
_BRANCH = re.compile(r"(?<=.)@(?P<branch>[\w.-]+(?:/[\w.-]+)*)$")
SECONDS = 1800.0


def of_a_repository(name: str, longest: int) -> Iterator[Folder]:
    """Its newest commit, copied for as long as it is read.

    :raises InvalidInput: if git is not installed.
    :raises DependencyUnavailable: if it cannot be copied.
    """
    slashes = r"\1///" if name.startswith(_FILE) else r"\1//"
    url, branch = _split(_SLASHES.sub(slashes, name))
    with TemporaryDirectory(prefix="realm-git-") as folder:
        command = ["git", "-c", "core.symlinks=false", "clone", "--quiet", "--depth", "1"]
        command += ["--branch", branch] if branch else []
        source = f"file://{Path(url).resolve()}" if Path(url).is_dir() else url
        try:
            done = subprocess.run(
                [*command, "--", source, folder],
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise InvalidInput(f"git:{url} takes git, which is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise DependencyUnavailable(f"git:{url} took longer than {SECONDS:.0f} s") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["git says nothing"]
            raise DependencyUnavailable(f"git:{url} cannot be copied: {said[-1]}")
        yield Folder(Path(folder), url)


def _split(name: str) -> tuple[str, str]:
    """URL or folder, and branch; the @ behind a user's name begins none."""
    if Path(name).is_dir():
        return name, ""
    host = name.find("://") + 3
    inside = name.find("/", host) if host > 2 else name.rfind(":") + 1
    found = _BRANCH.search(name, max(0, inside))
    return (name[: found.start()], found["branch"]) if found else (name, "")


NAMED["git"] = of_a_repository
