from realm.v1 import access_pb2 as _access_pb2
from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportServingRequest(_message.Message):
    __slots__ = ("gateway_id", "generation", "ready", "draining_requests", "questions", "searches")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    generation: int
    ready: bool
    draining_requests: int
    questions: _containers.RepeatedCompositeFieldContainer[RecordedQuestion]
    searches: _containers.RepeatedCompositeFieldContainer[LiveSearch]
    def __init__(self, gateway_id: _Optional[str] = ..., generation: _Optional[int] = ..., ready: bool = ..., draining_requests: _Optional[int] = ..., questions: _Optional[_Iterable[_Union[RecordedQuestion, _Mapping]]] = ..., searches: _Optional[_Iterable[_Union[LiveSearch, _Mapping]]] = ...) -> None: ...

class LiveSearch(_message.Message):
    __slots__ = ("question", "retrieval", "filter")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    question: str
    retrieval: _types_pb2.Retrieval
    filter: _types_pb2.Filter
    def __init__(self, question: _Optional[str] = ..., retrieval: _Optional[_Union[_types_pb2.Retrieval, str]] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class RecordedQuestion(_message.Message):
    __slots__ = ("question", "document_id", "snapshot", "answer")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    question: str
    document_id: str
    snapshot: int
    answer: str
    def __init__(self, question: _Optional[str] = ..., document_id: _Optional[str] = ..., snapshot: _Optional[int] = ..., answer: _Optional[str] = ...) -> None: ...

class ReportServingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
