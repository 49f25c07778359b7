from google.protobuf import field_mask_pb2 as _field_mask_pb2
from realm.v1 import access_pb2 as _access_pb2
from realm.v1 import answer_pb2 as _answer_pb2
from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetrievePassagesRequest(_message.Message):
    __slots__ = ("question", "limit", "at_least_version", "retrieval", "rerank", "least_score", "filter", "no_cache", "read_mask", "generation")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    LEAST_SCORE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    question: str
    limit: int
    at_least_version: int
    retrieval: _types_pb2.Retrieval
    rerank: int
    least_score: float
    filter: _types_pb2.Filter
    no_cache: bool
    read_mask: _field_mask_pb2.FieldMask
    generation: int
    def __init__(self, question: _Optional[str] = ..., limit: _Optional[int] = ..., at_least_version: _Optional[int] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., rerank: _Optional[int] = ..., least_score: _Optional[float] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., no_cache: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., generation: _Optional[int] = ...) -> None: ...

class RetrievePassagesResponse(_message.Message):
    __slots__ = ("passages", "index_version", "retrieval", "no_answer_probability", "cached")
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    NO_ANSWER_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    passages: _containers.RepeatedCompositeFieldContainer[RetrievedPassage]
    index_version: _types_pb2.IndexVersion
    retrieval: _types_pb2.Retrieval
    no_answer_probability: float
    cached: bool
    def __init__(self, passages: _Optional[_Iterable[_Union[RetrievedPassage, _Mapping]]] = ..., index_version: _Optional[_Union[_types_pb2.IndexVersion, _Mapping]] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., no_answer_probability: _Optional[float] = ..., cached: bool = ...) -> None: ...

class BatchRetrievePassagesRequest(_message.Message):
    __slots__ = ("question_id", "question")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    question: RetrievePassagesRequest
    def __init__(self, question_id: _Optional[str] = ..., question: _Optional[_Union[RetrievePassagesRequest, _Mapping]] = ...) -> None: ...

class BatchRetrievePassagesResponse(_message.Message):
    __slots__ = ("question_id", "found", "failure")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    found: RetrievePassagesResponse
    failure: _answer_pb2.Failure
    def __init__(self, question_id: _Optional[str] = ..., found: _Optional[_Union[RetrievePassagesResponse, _Mapping]] = ..., failure: _Optional[_Union[_answer_pb2.Failure, _Mapping]] = ...) -> None: ...

class RetrievedPassage(_message.Message):
    __slots__ = ("passage", "score", "probability", "parts")
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    passage: _types_pb2.Passage
    score: float
    probability: float
    parts: _types_pb2.ScoreParts
    def __init__(self, passage: _Optional[_Union[_types_pb2.Passage, _Mapping]] = ..., score: _Optional[float] = ..., probability: _Optional[float] = ..., parts: _Optional[_Union[_types_pb2.ScoreParts, _Mapping]] = ...) -> None: ...
