import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from realm.v1 import access_pb2 as _access_pb2
from realm.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GenerationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GENERATION_STATE_UNSPECIFIED: _ClassVar[GenerationState]
    GENERATION_STATE_BUILDING: _ClassVar[GenerationState]
    GENERATION_STATE_VALIDATING: _ClassVar[GenerationState]
    GENERATION_STATE_LIVE: _ClassVar[GenerationState]
    GENERATION_STATE_RETAINED: _ClassVar[GenerationState]
    GENERATION_STATE_RETIRED: _ClassVar[GenerationState]
    GENERATION_STATE_DELETED: _ClassVar[GenerationState]
    GENERATION_STATE_REJECTED: _ClassVar[GenerationState]
    GENERATION_STATE_ABANDONED: _ClassVar[GenerationState]
GENERATION_STATE_UNSPECIFIED: GenerationState
GENERATION_STATE_BUILDING: GenerationState
GENERATION_STATE_VALIDATING: GenerationState
GENERATION_STATE_LIVE: GenerationState
GENERATION_STATE_RETAINED: GenerationState
GENERATION_STATE_RETIRED: GenerationState
GENERATION_STATE_DELETED: GenerationState
GENERATION_STATE_REJECTED: GenerationState
GENERATION_STATE_ABANDONED: GenerationState

class GetIndexStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetIndexStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: IndexStatus
    def __init__(self, status: _Optional[_Union[IndexStatus, _Mapping]] = ...) -> None: ...

class IndexStatus(_message.Message):
    __slots__ = ("live", "newest_snapshot", "corpus_version", "refresh", "last_refresh", "paused", "gateways", "damage", "parked", "parked_documents")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    NEWEST_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    REFRESH_FIELD_NUMBER: _ClassVar[int]
    LAST_REFRESH_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    PARKED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    live: _types_pb2.IndexVersion
    newest_snapshot: Snapshot
    corpus_version: int
    refresh: Refresh
    last_refresh: Refresh
    paused: bool
    gateways: _containers.RepeatedCompositeFieldContainer[Gateway]
    damage: str
    parked: _containers.RepeatedCompositeFieldContainer[ParkedDocument]
    parked_documents: int
    def __init__(self, live: _Optional[_Union[_types_pb2.IndexVersion, _Mapping]] = ..., newest_snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., corpus_version: _Optional[int] = ..., refresh: _Optional[_Union[Refresh, _Mapping]] = ..., last_refresh: _Optional[_Union[Refresh, _Mapping]] = ..., paused: bool = ..., gateways: _Optional[_Iterable[_Union[Gateway, _Mapping]]] = ..., damage: _Optional[str] = ..., parked: _Optional[_Iterable[_Union[ParkedDocument, _Mapping]]] = ..., parked_documents: _Optional[int] = ...) -> None: ...

class ParkedDocument(_message.Message):
    __slots__ = ("document_id", "version", "reason", "parked_at")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARKED_AT_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    version: int
    reason: str
    parked_at: _timestamp_pb2.Timestamp
    def __init__(self, document_id: _Optional[str] = ..., version: _Optional[int] = ..., reason: _Optional[str] = ..., parked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("number", "step", "published_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    step: int
    published_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., step: _Optional[int] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Refresh(_message.Message):
    __slots__ = ("generation", "snapshot", "state", "started_at", "shards_completed", "shards_expected", "remaining", "phase_seconds", "reason")
    class PhaseSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    PHASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    generation: int
    snapshot: Snapshot
    state: GenerationState
    started_at: _timestamp_pb2.Timestamp
    shards_completed: int
    shards_expected: int
    remaining: _duration_pb2.Duration
    phase_seconds: _containers.ScalarMap[str, float]
    reason: str
    def __init__(self, generation: _Optional[int] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., state: _Optional[_Union[GenerationState, str]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shards_completed: _Optional[int] = ..., shards_expected: _Optional[int] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., phase_seconds: _Optional[_Mapping[str, float]] = ..., reason: _Optional[str] = ...) -> None: ...

class Gateway(_message.Message):
    __slots__ = ("gateway_id", "generation", "ready")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    generation: int
    ready: bool
    def __init__(self, gateway_id: _Optional[str] = ..., generation: _Optional[int] = ..., ready: bool = ...) -> None: ...

class ListGenerationsRequest(_message.Message):
    __slots__ = ("limit", "page_token")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    limit: int
    page_token: str
    def __init__(self, limit: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGenerationsResponse(_message.Message):
    __slots__ = ("generations", "next_page_token")
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    next_page_token: str
    def __init__(self, generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetGenerationRequest(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class GetGenerationResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("generation", "snapshot", "state", "corpus_version", "created_at", "gate", "reason", "forced", "words_alone")
    class GateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CORPUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    WORDS_ALONE_FIELD_NUMBER: _ClassVar[int]
    generation: int
    snapshot: Snapshot
    state: GenerationState
    corpus_version: int
    created_at: _timestamp_pb2.Timestamp
    gate: _containers.ScalarMap[str, float]
    reason: str
    forced: str
    words_alone: bool
    def __init__(self, generation: _Optional[int] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., state: _Optional[_Union[GenerationState, str]] = ..., corpus_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gate: _Optional[_Mapping[str, float]] = ..., reason: _Optional[str] = ..., forced: _Optional[str] = ..., words_alone: bool = ...) -> None: ...

class WatchIndexRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchIndexResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: IndexStatus
    def __init__(self, status: _Optional[_Union[IndexStatus, _Mapping]] = ...) -> None: ...

class RefreshIndexRequest(_message.Message):
    __slots__ = ("reason", "generation", "force", "by")
    REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    generation: int
    force: bool
    by: str
    def __init__(self, reason: _Optional[str] = ..., generation: _Optional[int] = ..., force: bool = ..., by: _Optional[str] = ...) -> None: ...

class RefreshIndexResponse(_message.Message):
    __slots__ = ("snapshot", "operation")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    snapshot: int
    operation: int
    def __init__(self, snapshot: _Optional[int] = ..., operation: _Optional[int] = ...) -> None: ...

class FollowRefreshRequest(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: int
    def __init__(self, operation: _Optional[int] = ...) -> None: ...

class FollowRefreshResponse(_message.Message):
    __slots__ = ("refresh", "done")
    REFRESH_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    refresh: Refresh
    done: bool
    def __init__(self, refresh: _Optional[_Union[Refresh, _Mapping]] = ..., done: bool = ...) -> None: ...

class RollBackIndexRequest(_message.Message):
    __slots__ = ("reason", "request_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    request_id: str
    def __init__(self, reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RollBackIndexResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class PauseRefreshRequest(_message.Message):
    __slots__ = ("paused", "reason")
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    paused: bool
    reason: str
    def __init__(self, paused: bool = ..., reason: _Optional[str] = ...) -> None: ...

class PauseRefreshResponse(_message.Message):
    __slots__ = ("paused",)
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    paused: bool
    def __init__(self, paused: bool = ...) -> None: ...
