from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_UNSPECIFIED: _ClassVar[Scope]
    SCOPE_ASK: _ClassVar[Scope]
    SCOPE_WRITE: _ClassVar[Scope]
    SCOPE_OPERATE: _ClassVar[Scope]
    SCOPE_SERVE: _ClassVar[Scope]
SCOPE_UNSPECIFIED: Scope
SCOPE_ASK: Scope
SCOPE_WRITE: Scope
SCOPE_OPERATE: Scope
SCOPE_SERVE: Scope
SCOPE_FIELD_NUMBER: _ClassVar[int]
scope: _descriptor.FieldDescriptor
FILTERED_FIELD_NUMBER: _ClassVar[int]
filtered: _descriptor.FieldDescriptor
