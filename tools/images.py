"""Builds and pushes realm's images, and names them in the one place that the overlays read.

`python -m tools.images --registry registry.example/realm --tag 0.1.0`. PyTorch for CUDA comes
from the package index, PyTorch for processors from --cpu-index or a wheelhouse.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = ROOT / "deploy" / "k8s" / "components" / "images" / "kustomization.yaml"
#: Image, its service, its variant.
IMAGES = (
    ("trainer", "trainer", "cpu"),
    ("trainer-cuda", "trainer", "cuda"),
    ("embedder", "embedder", "cpu"),
    ("embedder-cuda", "embedder", "cuda"),
    ("indexer", "indexer", "cpu"),
    ("gateway", "gateway", "cpu"),
    ("web", "web", "cpu"),
)


@dataclass(frozen=True, slots=True)
class Build:
    """What all images of one run share."""

    registry: str
    tag: str
    base: str = ""
    index: str = ""
    cpu_index: str = ""
    wheelhouse: str = ""
    revision: str = ""

    def command(self, image: str, service: str, variant: str) -> list[str]:
        """The docker command that makes one image."""
        arguments = {
            "BASE_IMAGE": self.base,
            "PIP_INDEX_URL": self.index,
            "TORCH_INDEX_URL": self.cpu_index if variant == "cpu" else "",
            "VARIANT": variant,
            "VERSION": self.tag,
            "REVISION": self.revision,
        }
        given = [f"--build-arg={name}={value}" for name, value in arguments.items() if value]
        if self.wheelhouse:
            given.append(f"--build-context=wheelhouse={self.wheelhouse}")
        file = f"deploy/docker/{service}.Dockerfile"
        return ["docker", "build", "--file", file, "--tag", self.name(image), *given, "."]

    def name(self, image: str) -> str:
        return f"{self.registry}/{image}:{self.tag}"


def renamed(text: str, registry: str, tag: str) -> str:
    """The file of names with realm's own images under another registry and tag."""
    return re.sub(
        r"(?m)^(  - name: realm/(\S+)\n    newName: )\S+(\n    newTag: )\S+$",
        lambda found: f'{found[1]}{registry}/{found[2]}{found[3]}"{tag}"',
        text,
    )


def commands(build: Build, push: bool) -> Iterator[Sequence[str]]:
    for image, service, variant in IMAGES:
        yield build.command(image, service, variant)
        if push:
            yield ["docker", "push", build.name(image)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("registry", None), ("tag", None), ("base", ""), ("index", "")):
        parser.add_argument(f"--{name}", default=default, required=default is None)
    parser.add_argument("--cpu-index", default="")
    parser.add_argument("--wheelhouse", default="")
    parser.add_argument("--no-push", action="store_true")
    given = vars(parser.parse_args())
    push = not given.pop("no_push")
    said = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    build = Build(**given, revision=said.stdout.strip())
    for command in commands(build, push):
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.stderr.write(f"images: failed: {' '.join(command)}\n")
            return 1
    NAMES.write_text(renamed(NAMES.read_text(), build.registry, build.tag))
    sys.stdout.write(f"named in {NAMES.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
