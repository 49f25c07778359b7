from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from realm.v1 import access_pb2 as _access_pb2
from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnswerQuestionRequest(_message.Message):
    __slots__ = ("question", "passages", "answers", "at_least_version", "retrieval", "filter", "no_cache", "read_mask", "generation")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    question: str
    passages: int
    answers: int
    at_least_version: int
    retrieval: _types_pb2.Retrieval
    filter: _types_pb2.Filter
    no_cache: bool
    read_mask: _field_mask_pb2.FieldMask
    generation: int
    def __init__(self, question: _Optional[str] = ..., passages: _Optional[int] = ..., answers: _Optional[int] = ..., at_least_version: _Optional[int] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., no_cache: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., generation: _Optional[int] = ...) -> None: ...

class AnswerQuestionResponse(_message.Message):
    __slots__ = ("answers", "index_version", "retrieval", "no_answer_probability", "cached")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    NO_ANSWER_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    index_version: _types_pb2.IndexVersion
    retrieval: _types_pb2.Retrieval
    no_answer_probability: float
    cached: bool
    def __init__(self, answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ..., index_version: _Optional[_Union[_types_pb2.IndexVersion, _Mapping]] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., no_answer_probability: _Optional[float] = ..., cached: bool = ...) -> None: ...

class AnswerQuestionsRequest(_message.Message):
    __slots__ = ("question_id", "question")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    question: AnswerQuestionRequest
    def __init__(self, question_id: _Optional[str] = ..., question: _Optional[_Union[AnswerQuestionRequest, _Mapping]] = ...) -> None: ...

class AnswerQuestionsResponse(_message.Message):
    __slots__ = ("question_id", "answer", "error", "failure")
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    question_id: str
    answer: AnswerQuestionResponse
    error: str
    failure: Failure
    def __init__(self, question_id: _Optional[str] = ..., answer: _Optional[_Union[AnswerQuestionResponse, _Mapping]] = ..., error: _Optional[str] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "probability", "sources", "stored")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    text: str
    probability: float
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    stored: bool
    def __init__(self, text: _Optional[str] = ..., probability: _Optional[float] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., stored: bool = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("passage", "retrieval_probability", "reading_probability", "start", "end", "score", "parts")
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    READING_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    passage: _types_pb2.Passage
    retrieval_probability: float
    reading_probability: float
    start: int
    end: int
    score: float
    parts: _types_pb2.ScoreParts
    def __init__(self, passage: _Optional[_Union[_types_pb2.Passage, _Mapping]] = ..., retrieval_probability: _Optional[float] = ..., reading_probability: _Optional[float] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., score: _Optional[float] = ..., parts: _Optional[_Union[_types_pb2.ScoreParts, _Mapping]] = ...) -> None: ...
