"""What `make test-cluster` does before it needs root: words, files, certificates, steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography import x509

from tests.deploy.rendering import containers, render, workloads
from tools.cluster import certificates
from tools.cluster.layout import Layout
from tools.cluster.node_images import references
from tools.cluster.processes import CommandFailed, await_true, run
from tools.cluster.steps import StepFailed, run_steps
from tools.cluster.trial import count_failures

NODES = range(1, 3)
OBJECTS = {
    "asker.yaml": {"node": "node1", "image": "registry.example/image:1"},
    "class.yaml": {},
    "clients.yaml": {
        "namespace": "shop", "may": "true", "key": "k", "node": "node1", "image": "any:1",
    },
    "dns.yaml": {},
    "volume.yaml": {"name": "v1", "folder": "/volumes/v1"},
}  # fmt: skip


def test_nodes_hold_every_image_that_the_overlay_names() -> None:
    used = {each["image"] for one in workloads(render("local"), jobs=True)
            for each in containers(one)}  # fmt: skip
    assert used == set(references().values())


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_applied_passes_the_schemas(name: str, tmp_path: Path) -> None:
    filled = Layout(tmp_path).configuration(name, **OBJECTS[name])
    for each in yaml.safe_load_all(filled):
        kubernetes_validate.validate(each, "1.30", strict=True)


@pytest.mark.parametrize("name", ["containerd.toml", "cni.conflist", "kubelet.yaml",
                                  "kube-proxy.yaml"])  # fmt: skip
def test_configurations_are_filled_in(name: str, tmp_path: Path) -> None:
    filled = Layout(tmp_path).configuration(name, node=2, group="here/node2")
    assert "$" not in filled
    if name == "cni.conflist":
        assert json.loads(filled)["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.2.0/24"}]]


def test_the_cache_lies_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REALM_CLUSTER_CACHE", str(tmp_path))
    assert Layout.of_environment().programs == tmp_path / "bin"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.certificates.mkdir(parents=True)
    certificates.make(found, NODES)
    return found


def certificate(layout: Layout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((layout.certificates / name).read_bytes())


def test_everybody_is_known_by_a_certificate_of_one_authority(layout: Layout) -> None:
    authority = certificate(layout, "authority.pem")
    subjects = {}
    for name in ("admin", "controllers", "scheduler", "proxy", "policies", "node1", "node2"):
        user = json.loads((layout.certificates / f"{name}.conf").read_text())["users"][0]["user"]
        found = certificate(layout, Path(user["client-certificate"]).name)
        found.verify_directly_issued_by(authority)
        assert Path(user["client-key"]).is_file()
        subjects[name] = found.subject.rfc4514_string()
    assert subjects["admin"] == "O=system:masters,CN=admin"
    assert subjects["node2"] == "O=system:nodes,CN=system:node:node2"
    assert subjects["scheduler"] == "CN=system:kube-scheduler"


def test_the_api_server_is_known_by_the_names_that_pods_use(layout: Layout) -> None:
    extension = certificate(layout, "server.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    names = {str(each.value) for each in extension.value}
    assert {"kubernetes.default.svc", "10.96.0.1", "172.30.0.100"} <= names


def test_steps_end_with_the_first_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    def act(name: str) -> str:
        done.append(name)
        if name == "second":
            raise StepFailed("the answer is another")
        return "a remark"

    steps = [(name, lambda name=name: act(name)) for name in ("first", "second", "third")]
    assert not run_steps(steps, lambda: "pods: none")
    assert done == ["first", "second"]
    said = capsys.readouterr().out
    assert "first: a remark" in said
    assert "FAILED" in said
    assert "second\nthe answer is another\n\npods: none" in said


def test_steps_that_succeed_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_steps([("only", str)], lambda: "")
    assert capsys.readouterr().out.splitlines()[-1].endswith("in all")


def test_a_wait_ends_with_what_failed_last() -> None:
    def fails() -> None:
        raise CommandFailed("no such pod")

    with pytest.raises(CommandFailed, match="not within 0 s: the pod runs: no such pod"):
        await_true(fails, "the pod runs", 0.1)


def test_a_command_that_fails_says_what_it_printed() -> None:
    with pytest.raises(CommandFailed, match=r"exit code 3\nwrong"):
        run("sh", "-c", "echo wrong >&2; exit 3")
    with pytest.raises(CommandFailed, match="not within 0 s"):
        run("sleep", "60", seconds=0.1)


def report(asked: int, *failed: str) -> dict[str, Any]:
    return {"asked": asked, "failed": list(failed)}


def test_load_that_failed_or_was_none_fails_the_step() -> None:
    assert count_failures([report(40), report(60)]) == "100 questions, none failed"
    with pytest.raises(StepFailed, match="1 failed"):
        count_failures([report(100), report(60, "Unavailable: away")])
    with pytest.raises(StepFailed, match="3 questions asked"):
        count_failures([report(1), report(2)])
