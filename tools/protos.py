"""Generates the gRPC stubs from `protos/` into `realm/`; `--check` only compares.

The import path equals the proto path, so `realm/v1/types.proto` becomes `realm.v1.types_pb2`.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PACKAGES = ("realm/v1", "realm/internal/v1")


def generate(target: Path) -> list[Path]:
    """Writes all stubs under `target`; returns their paths relative to it."""
    sources = [str(path) for path in sorted((ROOT / "protos").rglob("*.proto"))]
    includes = resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{ROOT / 'protos'}",
            f"-I{includes}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    if status:
        raise SystemExit(status)
    for package in ("realm/internal", *PACKAGES):
        (target / package / "__init__.py").touch()
    return sorted(path.relative_to(target) for path in target.rglob("*_pb2*.py*"))


def drifted() -> list[str]:
    """Names the committed stubs that differ from what the protos give."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        kept = {
            path.relative_to(ROOT)
            for package in PACKAGES
            for path in (ROOT / package).glob("*_pb2*.py*")
        }
        changed = {
            path
            for path in fresh
            if not (ROOT / path).exists()
            or (ROOT / path).read_bytes() != (Path(folder) / path).read_bytes()
        }
        return sorted(str(path) for path in changed | (kept - set(fresh)))


if __name__ == "__main__":
    if "--check" in sys.argv:
        if stale := drifted():
            raise SystemExit("stubs differ from protos (run `make protos`): " + ", ".join(stale))
    else:
        generate(ROOT)
