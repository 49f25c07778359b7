"""Arrow files: any one flipped bit is found."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import Corrupt
from realm.records import arrow
from realm.records.store import Store

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", "", "é"]}).replace_schema_metadata({"k": "v"})
DATA = arrow.to_bytes(TABLE)


def test_a_table_comes_back_with_its_metadata(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    arrow.write_table(store, "t.arrow", TABLE)
    found = arrow.read_table(store, "t.arrow")
    assert found.equals(TABLE)
    assert arrow.metadata(found) == {"k": "v"}


def test_any_arrow_reader_can_read_the_file() -> None:
    assert pa.ipc.open_stream(pa.py_buffer(DATA)).read_all().equals(TABLE)


@given(st.integers(0, len(DATA) * 8 - 1))
def test_one_flipped_bit_is_found(bit: int) -> None:
    broken = bytearray(DATA)
    broken[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(Corrupt, match=r"t\.arrow"):
        arrow.from_bytes(bytes(broken), "t.arrow")


@given(st.integers(0, len(DATA) - 1))
def test_a_cut_off_file_is_found(length: int) -> None:
    with pytest.raises(Corrupt):
        arrow.from_bytes(DATA[:length], "t.arrow")
