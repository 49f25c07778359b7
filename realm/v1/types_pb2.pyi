import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Retrieval(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRIEVAL_UNSPECIFIED: _ClassVar[Retrieval]
    RETRIEVAL_DENSE: _ClassVar[Retrieval]
    RETRIEVAL_BM25: _ClassVar[Retrieval]
    RETRIEVAL_HYBRID: _ClassVar[Retrieval]
    RETRIEVAL_RANK_FUSION: _ClassVar[Retrieval]
RETRIEVAL_UNSPECIFIED: Retrieval
RETRIEVAL_DENSE: Retrieval
RETRIEVAL_BM25: Retrieval
RETRIEVAL_HYBRID: Retrieval
RETRIEVAL_RANK_FUSION: Retrieval

class IndexVersion(_message.Message):
    __slots__ = ("generation", "snapshot", "step", "corpus_version", "lag_steps", "lag", "live_since", "damaged", "since_store_seen", "words_alone")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAG_STEPS_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    LIVE_SINCE_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    SINCE_STORE_SEEN_FIELD_NUMBER: _ClassVar[int]
    WORDS_ALONE_FIELD_NUMBER: _ClassVar[int]
    generation: int
    snapshot: int
    step: int
    corpus_version: int
    lag_steps: int
    lag: _duration_pb2.Duration
    live_since: _timestamp_pb2.Timestamp
    damaged: bool
    since_store_seen: _duration_pb2.Duration
    words_alone: bool
    def __init__(self, generation: _Optional[int] = ..., snapshot: _Optional[int] = ..., step: _Optional[int] = ..., corpus_version: _Optional[int] = ..., lag_steps: _Optional[int] = ..., lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., live_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., damaged: bool = ..., since_store_seen: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., words_alone: bool = ...) -> None: ...

class ScoreParts(_message.Message):
    __slots__ = ("dense", "words", "reading")
    DENSE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    dense: float
    words: float
    reading: float
    def __init__(self, dense: _Optional[float] = ..., words: _Optional[float] = ..., reading: _Optional[float] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("id", "title", "text", "metadata", "answer")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    text: str
    metadata: _containers.ScalarMap[str, str]
    answer: str
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., answer: _Optional[str] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("equals", "one_of", "range", "exists", "all", "any", "none")
    class Equals(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OneOf(_message.Message):
        __slots__ = ("key", "values")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUES_FIELD_NUMBER: _ClassVar[int]
        key: str
        values: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, key: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...
    class Range(_message.Message):
        __slots__ = ("key", "at_least", "more_than", "at_most", "less_than")
        KEY_FIELD_NUMBER: _ClassVar[int]
        AT_LEAST_FIELD_NUMBER: _ClassVar[int]
        MORE_THAN_FIELD_NUMBER: _ClassVar[int]
        AT_MOST_FIELD_NUMBER: _ClassVar[int]
        LESS_THAN_FIELD_NUMBER: _ClassVar[int]
        key: str
        at_least: str
        more_than: str
        at_most: str
        less_than: str
        def __init__(self, key: _Optional[str] = ..., at_least: _Optional[str] = ..., more_than: _Optional[str] = ..., at_most: _Optional[str] = ..., less_than: _Optional[str] = ...) -> None: ...
    class Filters(_message.Message):
        __slots__ = ("filters",)
        FILTERS_FIELD_NUMBER: _ClassVar[int]
        filters: _containers.RepeatedCompositeFieldContainer[Filter]
        def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...
    EQUALS_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    ANY_FIELD_NUMBER: _ClassVar[int]
    NONE_FIELD_NUMBER: _ClassVar[int]
    equals: Filter.Equals
    one_of: Filter.OneOf
    range: Filter.Range
    exists: str
    all: Filter.Filters
    any: Filter.Filters
    none: Filter.Filters
    def __init__(self, equals: _Optional[_Union[Filter.Equals, _Mapping]] = ..., one_of: _Optional[_Union[Filter.OneOf, _Mapping]] = ..., range: _Optional[_Union[Filter.Range, _Mapping]] = ..., exists: _Optional[str] = ..., all: _Optional[_Union[Filter.Filters, _Mapping]] = ..., any: _Optional[_Union[Filter.Filters, _Mapping]] = ..., none: _Optional[_Union[Filter.Filters, _Mapping]] = ...) -> None: ...

class Passage(_message.Message):
    __slots__ = ("passage_id", "document_id", "document_version", "ordinal", "title", "text", "start", "end", "metadata", "answer")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    document_id: str
    document_version: int
    ordinal: int
    title: str
    text: str
    start: int
    end: int
    metadata: _containers.ScalarMap[str, str]
    answer: str
    def __init__(self, passage_id: _Optional[str] = ..., document_id: _Optional[str] = ..., document_version: _Optional[int] = ..., ordinal: _Optional[int] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ..., answer: _Optional[str] = ...) -> None: ...
