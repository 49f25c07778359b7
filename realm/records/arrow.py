"""Arrow files with a checksum, put whole into the store.

A file is an Arrow IPC stream followed by 32 bytes of SHA-256 over it. Readers of Arrow stop at
the end of the stream, so any of them can read the file; ours refuses one flipped bit.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

from realm.errors import Corrupt
from realm.records.store import Store

DIGEST_BYTES = 32


def to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream + hashlib.sha256(stream).digest()


def from_bytes(data: bytes, path: str) -> pa.Table:
    """:raises Corrupt: naming the file, if the checksum or the format is wrong."""
    stream, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(stream).digest() != digest:
        raise Corrupt(f"{path} does not match its checksum", file=path)
    return pa.ipc.open_stream(pa.py_buffer(stream)).read_all()


def write_table(store: Store, path: str, table: pa.Table) -> None:
    store.write(path, to_bytes(table))


def create_table(store: Store, path: str, table: pa.Table) -> None:
    """:raises Conflict: if the file is there."""
    store.create(path, to_bytes(table))


def read_table(store: Store, path: str) -> pa.Table:
    """:raises NotFound, Corrupt:"""
    return from_bytes(store.read(path), path)


def metadata(table: pa.Table) -> dict[str, str]:
    """The schema's metadata as text."""
    found = table.schema.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}
