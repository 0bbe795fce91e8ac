"""The notation in which messages are declared: one line a field, the class is the schema.

    class DeleteRecordsRequest(Request, api=ApiKey.DELETE_RECORDS):
        class DeleteRecordsPartition(Struct):
            partition_index: int = s.i32()
            offset: int = s.i64()

A field line gives name, wire type, the versions that carry it (Kafka's own spans: "3+", "2-7", "" = all), the
versions in which it may be null, its tag, its default and the kind of entity it names. One class holds the
fields of every version: a field that a version does not carry has its default after parsing, and is silently
left out when writing. Arrays name their element: a primitive ("i32") or a struct nested in the same message.

This module must not know a byte layout; `compiler` turns declarations into parse and write functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, TypeVar, dataclass_transform
from uuid import UUID

from rivven.protocol.api import ApiKey

NULL_UUID: Final = UUID(int=0)
"""Kafka's "no id": sixteen zero bytes."""

Records = bytes | memoryview | list[bytes | memoryview] | None
"""Record batches as written: one buffer or several, never joined by the hot path."""

FOREVER: Final = 32767
"""The end of an open span: versions are int16."""

PRIMITIVES: Final = frozenset(
    {"i8", "i16", "i32", "i64", "f64", "boolean", "string", "blob", "records", "uuid"}
)

Span = tuple[int, int]


def parse_span(text: str) -> Span:
    """ "" -> every version, "3+" -> (3, FOREVER), "2-7" -> (2, 7), "1" -> (1, 1)."""
    if not text:
        return (0, FOREVER)
    if text.endswith("+"):
        return (int(text[:-1]), FOREVER)
    low, _, high = text.partition("-")
    return (int(low), int(high or low))


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field. `kind` is a primitive, "array" or "struct"; `element` says of what."""

    kind: str
    versions: Span
    nullable: Span | None
    tag: int | None
    default: Any
    element: str | None
    entity: str | None
    secret: bool
    name: str = ""

    def in_version(self, version: int) -> bool:
        """Whether this version's layout carries the field (tagged or not)."""
        return self.versions[0] <= version <= self.versions[1]

    def nullable_in(self, version: int) -> bool:
        """Whether null may stand on the wire in this version."""
        return self.nullable is not None and self.nullable[0] <= version <= self.nullable[1]


def _field(
    kind: str,
    versions: str,
    default: Any,
    *,
    nullable: str | None = None,
    tag: int | None = None,
    element: str | None = None,
    entity: str | None = None,
    secret: bool = False,
) -> Any:
    span = None if nullable is None else parse_span(nullable)
    return Field(kind, parse_span(versions), span, tag, default, element, entity, secret)


def i8(versions: str = "", *, default: int = 0, tag: int | None = None) -> Any:
    """Signed byte."""
    return _field("i8", versions, default, tag=tag)


def i16(versions: str = "", *, default: int = 0, tag: int | None = None) -> Any:
    """Signed big-endian 16-bit integer."""
    return _field("i16", versions, default, tag=tag)


def i32(versions: str = "", *, default: int = 0, tag: int | None = None, entity: str | None = None) -> Any:
    """Signed big-endian 32-bit integer."""
    return _field("i32", versions, default, tag=tag, entity=entity)


def i64(versions: str = "", *, default: int = 0, tag: int | None = None, entity: str | None = None) -> Any:
    """Signed big-endian 64-bit integer."""
    return _field("i64", versions, default, tag=tag, entity=entity)


def f64(versions: str = "") -> Any:
    """IEEE 754 double, big endian."""
    return _field("f64", versions, 0.0)


def boolean(versions: str = "", *, default: bool = False, tag: int | None = None) -> Any:
    """One byte, 0 is false, anything else is read as true and written as 1."""
    return _field("boolean", versions, default, tag=tag)


def uuid(versions: str = "") -> Any:
    """Sixteen raw bytes; the null id is `NULL_UUID`."""
    return _field("uuid", versions, NULL_UUID)


def string(
    versions: str = "",
    *,
    nullable: str | None = None,
    default: str | None = "",
    tag: int | None = None,
    entity: str | None = None,
) -> Any:
    """UTF-8 with an int16 length, or a compact length in flexible versions."""
    return _field("string", versions, default, nullable=nullable, tag=tag, entity=entity)


def blob(
    versions: str = "", *, nullable: str | None = None, default: bytes | None = b"", secret: bool = False
) -> Any:
    """Opaque bytes, copied out of the frame when parsed."""
    return _field("blob", versions, default, nullable=nullable, secret=secret)


def records(versions: str = "", *, nullable: str | None = None) -> Any:
    """Record batches, a memoryview into the frame when parsed."""
    return _field("records", versions, None, nullable=nullable)


def array(
    element: str,
    versions: str = "",
    *,
    nullable: str | None = None,
    default: Literal["empty"] | None = "empty",
    tag: int | None = None,
    entity: str | None = None,
) -> Any:
    """A list of primitives or of structs nested in the same message; a default of None means null."""
    return _field("array", versions, default, nullable=nullable, tag=tag, element=element, entity=entity)


def struct(element: str, versions: str = "", *, nullable: str | None = None, tag: int | None = None) -> Any:
    """One nested struct or None: null on the wire when nullable, not sent at all when tagged."""
    return _field("struct", versions, None, nullable=nullable, tag=tag, element=element)


@dataclass_transform(kw_only_default=True, eq_default=True)
class StructMeta(type):
    """Turns the field lines of a class body into slots; the lines themselves move to `__fields__`."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any
    ) -> StructMeta:
        fields = []
        for key, value in list(namespace.items()):
            if isinstance(value, Field):
                del namespace[key]
                fields.append(replace(value, name=key))
        namespace["__fields__"] = tuple(fields)
        namespace["__slots__"] = tuple(field.name for field in fields)
        return super().__new__(mcs, name, bases, namespace, **keywords)


class Struct(metaclass=StructMeta):
    """A plain value with slots: keyword constructor, equality by fields, a repr without secrets."""

    __fields__: ClassVar[tuple[Field, ...]]
    __slots__ = ()

    def __init__(self, **values: Any) -> None:
        # The real constructor is compiled on first use: start-up must not pay for 200 classes.
        cls = type(self)
        cls.__init__ = _compile_init(cls.__fields__)  # type: ignore[method-assign]
        cls.__init__(self, **values)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in self.__fields__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{field.name}={_shown(field, getattr(self, field.name))}" for field in self.__fields__
        )
        return f"{type(self).__qualname__}({shown})"


def _shown(field: Field, value: Any) -> str:
    if value is not None and field.secret:
        return "<hidden>"
    if field.kind == "records" and value is not None:
        # Bodies can be megabytes, and they are the user's data: neither belongs in a log line.
        return f"<{sum(map(len, value)) if isinstance(value, list) else len(value)} bytes>"
    return repr(value)


def _compile_init(fields: tuple[Field, ...]) -> Any:
    """A keyword-only `__init__` assigning every slot; a missing list is a new empty list each time."""
    parameters, lines, scope = [], [], {"NULL_UUID": NULL_UUID, "EMPTY": object()}
    for field in fields:
        name = field.name
        if field.default == "empty":
            parameters.append(f"{name}=EMPTY")
            lines.append(f"    self.{name} = [] if {name} is EMPTY else {name}")
        else:
            scope[f"default_{name}"] = field.default
            parameters.append(f"{name}=default_{name}")
            lines.append(f"    self.{name} = {name}")
    head = f"def __init__(self, *, {', '.join(parameters)}):" if parameters else "def __init__(self):"
    # Only names and defaults of our own declarations reach this text.
    exec("\n".join([head, *lines] if lines else [head, "    pass"]), scope)  # noqa: S102
    return scope["__init__"]


class Message(Struct):
    """A struct that is a whole request, response or data record."""


REQUESTS: Final[dict[int, type[Message]]] = {}
RESPONSES: Final[dict[int, type[Message]]] = {}
DATA: Final[dict[str, type[Data]]] = {}


class Request(Message):
    """A request body; declares itself under its API key."""

    __api_key__: ClassVar[ApiKey]

    def __init_subclass__(cls, api: ApiKey) -> None:
        cls.__api_key__ = api
        REQUESTS[api] = cls


class Response(Message):
    """A response body; declares itself under its API key."""

    __api_key__: ClassVar[ApiKey]

    def __init_subclass__(cls, api: ApiKey) -> None:
        cls.__api_key__ = api
        RESPONSES[api] = cls


class Data(Message):
    """A struct stored inside records rather than sent; classic (not flexible) in the offered versions."""

    __versions__: ClassVar[Span]

    def __init_subclass__(cls, versions: str) -> None:
        cls.__versions__ = parse_span(versions)
        DATA[cls.__name__] = cls


_S = TypeVar("_S", bound=Struct)


def fields_of(cls: type[_S], version: int) -> tuple[Field, ...]:
    """The fields that a version's layout carries, in wire order (tagged ones included)."""
    return tuple(field for field in cls.__fields__ if field.in_version(version))
