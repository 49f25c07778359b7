from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpsertDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "documents")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    documents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Document]
    def __init__(self, request_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[_types_pb2.Document, _Mapping]]] = ...) -> None: ...

class UpsertDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version",)
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    def __init__(self, corpus_version: _Optional[int] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "document_ids")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., document_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version",)
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    def __init__(self, corpus_version: _Optional[int] = ...) -> None: ...

class GetDocumentRequest(_message.Message):
    __slots__ = ("document_id",)
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    def __init__(self, document_id: _Optional[str] = ...) -> None: ...

class GetDocumentResponse(_message.Message):
    __slots__ = ("document", "document_version")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    document: _types_pb2.Document
    document_version: int
    def __init__(self, document: _Optional[_Union[_types_pb2.Document, _Mapping]] = ..., document_version: _Optional[int] = ...) -> None: ...

class ImportDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "documents")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    documents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Document]
    def __init__(self, request_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[_types_pb2.Document, _Mapping]]] = ...) -> None: ...

class ImportDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version", "documents_written")
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    documents_written: int
    def __init__(self, corpus_version: _Optional[int] = ..., documents_written: _Optional[int] = ...) -> None: ...
