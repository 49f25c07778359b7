from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetrievePassagesRequest(_message.Message):
    __slots__ = ("question", "limit", "at_least_version", "retrieval", "rerank", "least_score")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    LEAST_SCORE_FIELD_NUMBER: _ClassVar[int]
    question: str
    limit: int
    at_least_version: int
    retrieval: _types_pb2.Retrieval
    rerank: int
    least_score: float
    def __init__(self, question: _Optional[str] = ..., limit: _Optional[int] = ..., at_least_version: _Optional[int] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., rerank: _Optional[int] = ..., least_score: _Optional[float] = ...) -> None: ...

class RetrievePassagesResponse(_message.Message):
    __slots__ = ("passages", "index_version", "retrieval", "no_answer_probability")
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    NO_ANSWER_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    passages: _containers.RepeatedCompositeFieldContainer[RetrievedPassage]
    index_version: _types_pb2.IndexVersion
    retrieval: _types_pb2.Retrieval
    no_answer_probability: float
    def __init__(self, passages: _Optional[_Iterable[_Union[RetrievedPassage, _Mapping]]] = ..., index_version: _Optional[_Union[_types_pb2.IndexVersion, _Mapping]] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., no_answer_probability: _Optional[float] = ...) -> None: ...

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
