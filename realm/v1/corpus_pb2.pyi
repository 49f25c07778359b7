from realm.v1 import access_pb2 as _access_pb2
from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpsertDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "documents", "filter")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    documents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Document]
    filter: _types_pb2.Filter
    def __init__(self, request_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[_types_pb2.Document, _Mapping]]] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class UpsertDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version",)
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    def __init__(self, corpus_version: _Optional[int] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "document_ids", "filter")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    filter: _types_pb2.Filter
    def __init__(self, request_id: _Optional[str] = ..., document_ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version", "documents_deleted", "more")
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_DELETED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    documents_deleted: int
    more: bool
    def __init__(self, corpus_version: _Optional[int] = ..., documents_deleted: _Optional[int] = ..., more: bool = ...) -> None: ...

class GetDocumentRequest(_message.Message):
    __slots__ = ("document_id", "filter")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    filter: _types_pb2.Filter
    def __init__(self, document_id: _Optional[str] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class GetDocumentResponse(_message.Message):
    __slots__ = ("document", "document_version")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    document: _types_pb2.Document
    document_version: int
    def __init__(self, document: _Optional[_Union[_types_pb2.Document, _Mapping]] = ..., document_version: _Optional[int] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "with_text")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_TEXT_FIELD_NUMBER: _ClassVar[int]
    filter: _types_pb2.Filter
    page_size: int
    page_token: str
    with_text: bool
    def __init__(self, filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_text: bool = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("documents", "next_page_token")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[ListedDocument]
    next_page_token: str
    def __init__(self, documents: _Optional[_Iterable[_Union[ListedDocument, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListedDocument(_message.Message):
    __slots__ = ("document", "document_version")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    document: _types_pb2.Document
    document_version: int
    def __init__(self, document: _Optional[_Union[_types_pb2.Document, _Mapping]] = ..., document_version: _Optional[int] = ...) -> None: ...

class ImportDocumentsRequest(_message.Message):
    __slots__ = ("request_id", "documents", "filter")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    documents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Document]
    filter: _types_pb2.Filter
    def __init__(self, request_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[_types_pb2.Document, _Mapping]]] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class ImportDocumentsResponse(_message.Message):
    __slots__ = ("corpus_version", "documents_written")
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    corpus_version: int
    documents_written: int
    def __init__(self, corpus_version: _Optional[int] = ..., documents_written: _Optional[int] = ...) -> None: ...
