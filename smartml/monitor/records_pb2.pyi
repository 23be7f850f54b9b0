from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Column(_message.Message):
    __slots__ = ("type", "encoding", "width", "base", "step")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INT64: _ClassVar[Column.Type]
        FLOAT32: _ClassVar[Column.Type]
        FLOAT64: _ClassVar[Column.Type]
    INT64: Column.Type
    FLOAT32: Column.Type
    FLOAT64: Column.Type
    class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PLAIN: _ClassVar[Column.Encoding]
        CONSTANT: _ClassVar[Column.Encoding]
        RANGE: _ClassVar[Column.Encoding]
    PLAIN: Column.Encoding
    CONSTANT: Column.Encoding
    RANGE: Column.Encoding
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    type: Column.Type
    encoding: Column.Encoding
    width: int
    base: int
    step: int
    def __init__(self, type: _Optional[_Union[Column.Type, str]] = ..., encoding: _Optional[_Union[Column.Encoding, str]] = ..., width: _Optional[int] = ..., base: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("name_id", "offset", "length", "checksum", "index", "points", "columns", "scope", "name", "fields", "data")
    NAME_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name_id: int
    offset: int
    length: int
    checksum: int
    index: int
    points: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    scope: str
    name: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    data: bytes
    def __init__(self, name_id: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., checksum: _Optional[int] = ..., index: _Optional[int] = ..., points: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., scope: _Optional[str] = ..., name: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("id", "scope")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    id: int
    scope: str
    def __init__(self, id: _Optional[int] = ..., scope: _Optional[str] = ...) -> None: ...

class Name(_message.Message):
    __slots__ = ("id", "scope_id", "name", "fields")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    id: int
    scope_id: int
    name: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., scope_id: _Optional[int] = ..., name: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "scope_id", "sequence", "deleted_names")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DELETED_NAMES_FIELD_NUMBER: _ClassVar[int]
    id: str
    scope_id: int
    sequence: int
    deleted_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., scope_id: _Optional[int] = ..., sequence: _Optional[int] = ..., deleted_names: _Optional[_Iterable[str]] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("scope_id", "json")
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    scope_id: int
    json: str
    def __init__(self, scope_id: _Optional[int] = ..., json: _Optional[str] = ...) -> None: ...

class Deletion(_message.Message):
    __slots__ = ("scope_id", "name_id")
    SCOPE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_ID_FIELD_NUMBER: _ClassVar[int]
    scope_id: int
    name_id: int
    def __init__(self, scope_id: _Optional[int] = ..., name_id: _Optional[int] = ...) -> None: ...

class Outline(_message.Message):
    __slots__ = ("deletions", "scopes", "names", "sessions", "configs", "blocks", "last_id")
    DELETIONS_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    CONFIGS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    deletions: _containers.RepeatedCompositeFieldContainer[Deletion]
    scopes: _containers.RepeatedCompositeFieldContainer[Scope]
    names: _containers.RepeatedCompositeFieldContainer[Name]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    configs: _containers.RepeatedCompositeFieldContainer[Config]
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    last_id: int
    def __init__(self, deletions: _Optional[_Iterable[_Union[Deletion, _Mapping]]] = ..., scopes: _Optional[_Iterable[_Union[Scope, _Mapping]]] = ..., names: _Optional[_Iterable[_Union[Name, _Mapping]]] = ..., sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., configs: _Optional[_Iterable[_Union[Config, _Mapping]]] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., last_id: _Optional[int] = ...) -> None: ...

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Cursor(_message.Message):
    __slots__ = ("store", "lineage", "position")
    STORE_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    store: str
    lineage: int
    position: int
    def __init__(self, store: _Optional[str] = ..., lineage: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class BeginRequest(_message.Message):
    __slots__ = ("session", "scope", "delete_existing")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DELETE_EXISTING_FIELD_NUMBER: _ClassVar[int]
    session: str
    scope: str
    delete_existing: bool
    def __init__(self, session: _Optional[str] = ..., scope: _Optional[str] = ..., delete_existing: bool = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("session", "sequence", "blocks", "configs")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    CONFIGS_FIELD_NUMBER: _ClassVar[int]
    session: str
    sequence: int
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    configs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: _Optional[str] = ..., sequence: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., configs: _Optional[_Iterable[str]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("name", "points", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    points: int
    reason: str
    def __init__(self, name: _Optional[str] = ..., points: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class WriteReply(_message.Message):
    __slots__ = ("refusals",)
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("cursor", "scopes", "names", "min_interval_s")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    cursor: Cursor
    scopes: str
    names: str
    min_interval_s: float
    def __init__(self, cursor: _Optional[_Union[Cursor, _Mapping]] = ..., scopes: _Optional[str] = ..., names: _Optional[str] = ..., min_interval_s: _Optional[float] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("scope", "name")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    scope: str
    name: str
    def __init__(self, scope: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("reset", "removed", "added", "cursor")
    RESET_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    reset: bool
    removed: _containers.RepeatedCompositeFieldContainer[Removal]
    added: _containers.RepeatedCompositeFieldContainer[Block]
    cursor: Cursor
    def __init__(self, reset: bool = ..., removed: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ..., added: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., cursor: _Optional[_Union[Cursor, _Mapping]] = ...) -> None: ...

class ScopeRequest(_message.Message):
    __slots__ = ("scope",)
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    scope: str
    def __init__(self, scope: _Optional[str] = ...) -> None: ...

class NamesReply(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class ConfigsReply(_message.Message):
    __slots__ = ("scopes",)
    class Entry(_message.Message):
        __slots__ = ("scope", "configs")
        SCOPE_FIELD_NUMBER: _ClassVar[int]
        CONFIGS_FIELD_NUMBER: _ClassVar[int]
        scope: str
        configs: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, scope: _Optional[str] = ..., configs: _Optional[_Iterable[str]] = ...) -> None: ...
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    scopes: _containers.RepeatedCompositeFieldContainer[ConfigsReply.Entry]
    def __init__(self, scopes: _Optional[_Iterable[_Union[ConfigsReply.Entry, _Mapping]]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("scope", "name")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    scope: str
    name: str
    def __init__(self, scope: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class CompactReply(_message.Message):
    __slots__ = ("bytes_before", "bytes_after")
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    bytes_before: int
    bytes_after: int
    def __init__(self, bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ...) -> None: ...

class HealthReply(_message.Message):
    __slots__ = ("store", "path", "points", "damaged")
    STORE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    store: str
    path: str
    points: int
    damaged: int
    def __init__(self, store: _Optional[str] = ..., path: _Optional[str] = ..., points: _Optional[int] = ..., damaged: _Optional[int] = ...) -> None: ...
