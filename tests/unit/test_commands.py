"""Every command that a page gives is one that its program takes: names, options and values.

`tests/acceptance/test_documented.py` runs those of a running cluster.
"""

from __future__ import annotations

import importlib
import itertools
import re
import tomllib
import urllib.parse
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from google.protobuf import json_format

from bench.__main__ import CHECK, FOLDERS, NAMES
from realm.cli.main import app
from realm.settings import VARIABLES
from realm.v1 import retrieval_pb2
from services.standalone.cluster import PORTS
from services.web.operations import OPERATIONS, Operation
from tests.documented import ROOT, Command, blocks, commands

BLOCKS = blocks("sh")
#: Variables of others' programs.
OTHERS = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
#: What a reader puts in place of a word of a command, and one that it may be.
PLACEHOLDERS = {"N": "3", "NUMBER": "3", "FILE": "README.md"}
KINDS = {"deployment", "deploy", "statefulset", "job", "service"}
MANIFESTS = ROOT / "deploy" / "k8s"
EVENT = re.compile(r"[a-z]+(?:_[a-z]+)+")
#: Commands of `kubectl` about things of a kind.
VERBS = {
    *("apply", "create", "delete", "describe", "exec", "get", "logs"),
    *("patch", "port-forward", "rollout", "scale", "top", "wait"),
}


def made(word: str) -> str:
    return PLACEHOLDERS.get(word, word)


def check_realm(words: list[str]) -> None:
    """Parsed to the end, as it would be run."""
    command, path = typer.main.get_command(app), "realm"
    given = [made(each) for each in words]
    while hasattr(command, "commands"):
        assert given, f"{path} is a group of commands"
        assert given[0] in command.commands, f"{path} has no command {given[0]}"
        path = f"{path} {given[0]}"
        command, given = command.commands[given[0]], given[1:]
    command.make_context(path, given)


def check_make(words: list[str]) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, equals, _ = word.partition("=")
        pattern = rf"^{name} [?:]?=" if equals else rf"^{name}:|^\.PHONY:.* {name}\b"
        assert re.search(pattern, text, re.MULTILINE), word


def check_python(words: list[str]) -> None:
    dash, module, *given = words
    assert dash == "-m", words
    if module != "bench":
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
        return
    name, *given = given
    if name != CHECK:
        assert name in NAMES
        bench = importlib.import_module(f"bench.{FOLDERS.get(name, name)}.program").BENCH
        bench.parser(name).parse_args(given)


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for each in words[1:]:
        if each.startswith("realm["):
            assert each.removeprefix("realm[").rstrip("]") in extras["optional-dependencies"]


def check_curl(words: list[str]) -> None:
    """A route of the web service, with a query and a body that it takes."""
    options = dict(itertools.pairwise(words))
    address = next(each for each in words if each.startswith("http://"))
    parts = urllib.parse.urlsplit(address)
    assert parts.port == PORTS["web"]
    body = options.get("--json")
    method = options.get("-X", "GET" if body is None else "POST")
    if parts.path == "/v1/index/events":
        return
    operation = operation_of(method, parts.path)
    queried = {*(each.name for each in operation.queried), *(["where"] * operation.filtered)}
    assert {name for name, _ in urllib.parse.parse_qsl(parts.query)} <= queried
    assert (body is None) == (operation.body is None)
    if body is not None and operation.body is not None:
        json_format.Parse(body, operation.body())


def operation_of(method: str, path: str) -> Operation:
    for each in OPERATIONS:
        pattern = re.sub(r"\{[^}]*\}", ".+", each.path)
        if each.http == method and re.fullmatch(pattern, path):
            return each
    raise AssertionError(f"there is no {method} {path}")


def check_buf(words: list[str]) -> None:
    if words[0] == "generate":
        return
    options = dict(itertools.pairwise(words))
    assert words[-1].startswith(f"http://127.0.0.1:{PORTS['gateway']}/realm.v1.RetrievalService/")
    json_format.Parse(options["-d"], retrieval_pb2.RetrievePassagesRequest())


@cache
def workloads() -> set[tuple[str, str]]:
    """Kind and name of what the manifests hold."""
    found = set()
    for file in MANIFESTS.rglob("*.yaml"):
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if isinstance(each, dict) and "metadata" in each:
                found.add((each["kind"].lower(), each["metadata"].get("name", "")))
    return found


def check_kubectl(words: list[str]) -> None:
    """What it names is in the manifests; what stands behind -- is checked for itself."""
    if "--" in words:
        place = words.index("--")
        check(words[place + 1 :])
        words = words[:place]
    assert VERBS & set(words), words
    if "-k" in words:
        assert (ROOT / words[words.index("-k") + 1]).is_dir()
    for word in words:
        kind, slash, name = word.partition("/")
        if slash and kind in KINDS and not word.startswith("deploy/k8s/") and name != "$each":
            assert ({"deploy": "deployment"}.get(kind, kind), name) in workloads(), word


@cache
def sources() -> str:
    folders = (ROOT / "realm", ROOT / "services")
    return "\n".join(
        each.read_text(encoding="utf-8") for folder in folders for each in folder.rglob("*.py")
    )


def check_grep(words: list[str]) -> None:
    """Events that it looks for are logged by somebody."""
    for event in EVENT.findall(" ".join(words)):
        assert event in sources(), event


def check_cd(words: list[str]) -> None:
    assert (ROOT / words[0]).is_dir()


def anything(words: list[str]) -> None:
    """Of programs that are none of ours."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "realm": check_realm,
    "make": check_make,
    "python": check_python,
    "pip": check_pip,
    "curl": check_curl,
    "buf": check_buf,
    "kubectl": check_kubectl,
    "grep": check_grep,
    "cd": check_cd,
    **dict.fromkeys(("echo", "export", "go", "node", "npm", "openssl", "sed"), anything),
}


def check(words: list[str]) -> None:
    program, *given = words
    CHECKS[Path(program).name](given)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda each: each.name)
def test_a_command_is_one_that_its_program_takes(block: Any) -> None:
    found: list[Command] = list(commands(block))
    assert found
    for command in found:
        assert set(command.environment) <= {*VARIABLES, *OTHERS}, command
        if command.words:
            try:
                check(list(command.words))
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{command}: {error!r}") from error


@pytest.mark.parametrize("block", blocks("python"), ids=lambda each: each.name)
def test_an_example_in_python_compiles(block: Any) -> None:
    compile(block.code, str(block.page), "exec")


@pytest.mark.parametrize(
    "wrong",
    [
        "realm corpus imprt docs",
        "realm corpus import docs --folow",
        "realm generations show",
        "realm snapshots show three",
        "realm search tower --limit many",
        "make runs",
        "make run CORPSE=docs",
        "python -m bench swap --mniutes 3",
        "pip install 'realm[langchian]'",
        "curl http://127.0.0.1:8051/v1/asks --json '{}'",
        'curl http://127.0.0.1:8051/v1/ask --json \'{"questoin": ""}\'',
        "curl 'http://127.0.0.1:8051/v1/documents?were=lang=en'",
        "kubectl -n realm logs statefulset/indexr",
        "kubectl -n realm exec deployment/toolbox -c realm -- realm docter",
        "grep stray_flie .realm/logs/indexer.log",
        "unknown",
    ],
)
def test_a_command_that_is_none_is_seen(wrong: str) -> None:
    block = type(BLOCKS[0])(ROOT / "README.md", "sh", wrong + "\n")
    with pytest.raises(AssertionError):
        test_a_command_is_one_that_its_program_takes(block)
