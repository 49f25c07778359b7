"""Qdrant's protobuf messages, without the client around them.

Importing `qdrant_client.grpc` runs `qdrant_client`, which takes 0.8 s and 70 MB for models that
neither a child nor the front needs. The generated modules are therefore loaded under a stand-in
package; a process that has the client already shares the client's own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["collections", "common", "json_values", "load", "points"]

CLIENT_PACKAGE = "qdrant_client.grpc"
STAND_IN = "_qdrant_protocol"


def load(name: str) -> ModuleType:
    """The generated module of that name, for example `points_pb2`."""
    if CLIENT_PACKAGE in sys.modules:
        return importlib.import_module(f"{CLIENT_PACKAGE}.{name}")
    if STAND_IN not in sys.modules:
        found = importlib.util.find_spec("qdrant_client")  # looks, does not run the package
        if found is None or found.origin is None:
            raise ImportError("qdrant-client is not installed; install realm[standalone]")
        package = ModuleType(STAND_IN)
        package.__path__ = [str(Path(found.origin).parent / "grpc")]
        sys.modules[STAND_IN] = package
    return importlib.import_module(f"{STAND_IN}.{name}")


if TYPE_CHECKING:
    from qdrant_client.grpc import collections_pb2 as collections
    from qdrant_client.grpc import json_with_int_pb2 as json_values
    from qdrant_client.grpc import points_pb2 as points
    from qdrant_client.grpc import qdrant_common_pb2 as common
else:
    json_values = load("json_with_int_pb2")
    common = load("qdrant_common_pb2")
    collections = load("collections_pb2")
    points = load("points_pb2")
