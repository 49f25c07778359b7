from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ReportServingRequest(_message.Message):
    __slots__ = ("gateway_id", "generation", "ready", "draining_requests")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    generation: int
    ready: bool
    draining_requests: int
    def __init__(self, gateway_id: _Optional[str] = ..., generation: _Optional[int] = ..., ready: bool = ..., draining_requests: _Optional[int] = ...) -> None: ...

class ReportServingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
