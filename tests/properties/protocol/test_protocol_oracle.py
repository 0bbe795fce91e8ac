"""Every message and version beside an independent codec (kio): same bytes, same values, both ways."""

from __future__ import annotations

import datetime
import enum
import io
import random
import typing
import uuid
from dataclasses import fields as dataclass_fields
from typing import Any

import pytest

from rivven.protocol import codec
from rivven.protocol import messages as m
from rivven.protocol.layout import Layout
from rivven.protocol.schema import Struct, fields_of

kio_index = pytest.importorskip("kio.index", reason="kio (development-only oracle) is not installed here")
kio_serial = pytest.importorskip("kio.serial")

FILLED = 8
"""Random instances of each (message, version): 2,900 round trips in about ten seconds."""


def _oracle_class(layout: Layout) -> Any:
    key = layout.message.__api_key__  # type: ignore[attr-defined]
    load = (
        kio_index.load_request_schema
        if issubclass(layout.message, m.Request)
        else kio_index.load_response_schema
    )
    return load(int(key), layout.version)


def _our_name(name: str, struct: type[Struct]) -> str:
    """kio drops the unit of durations."""
    names = {field.name for field in struct.__fields__}
    return name if name in names else f"{name}_ms"


def _to_oracle(value: Any, annotation: Any, default: Any) -> Any:
    """Our value as the type the oracle's annotation asks for."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return tuple(_to_oracle(item, arguments[0], None) for item in value)
    if origin is not None:  # X | None
        concrete = next(argument for argument in arguments if argument is not type(None))
        if value is None or value == m.NULL_UUID:
            return None
        is_time = isinstance(concrete, type) and issubclass(concrete, datetime.datetime)
        if is_time and value == -1:
            return None
        return _to_oracle(value, concrete, default)
    if isinstance(value, Struct):
        return _oracle_instance(value, annotation)
    if value is None:
        return default
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return annotation(value)
    if isinstance(annotation, type) and issubclass(annotation, datetime.timedelta):
        return datetime.timedelta(milliseconds=value)
    if isinstance(annotation, type) and issubclass(annotation, datetime.datetime):
        return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=value)
    return value


def _oracle_instance(value: Struct, cls: Any) -> Any:
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclass_fields(cls):
        name = _our_name(field.name, type(value))
        values[field.name] = _to_oracle(getattr(value, name), hints[field.name], field.default)
    return cls(**values)


def test_the_version_has_the_same_fields(layout: Layout) -> None:
    def compare(ours: type[Struct], theirs: Any) -> None:
        hints = typing.get_type_hints(theirs)
        expected = [_our_name(field.name, ours) for field in dataclass_fields(theirs)]
        assert [field.name for field in fields_of(ours, layout.version)] == expected
        for field in fields_of(ours, layout.version):
            nested = layout.nested(field)
            if nested is not None:
                compare(
                    nested, _struct_in(next(h for n, h in hints.items() if _our_name(n, ours) == field.name))
                )

    compare(layout.message, _oracle_class(layout))


def _struct_in(annotation: Any) -> Any:
    arguments = [a for a in typing.get_args(annotation) if a is not type(None) and a is not Ellipsis]
    return _struct_in(arguments[0]) if arguments else annotation


def test_bytes_and_values_agree(layout: Layout, fill: Any) -> None:
    cls = _oracle_class(layout)
    read, write = kio_serial.entity_reader(cls), kio_serial.entity_writer(cls)
    key = layout.message.__api_key__  # type: ignore[attr-defined]
    request = issubclass(layout.message, m.Request)
    our_write = codec.write_request if request else codec.write_response
    our_parse = codec.parse_request if request else codec.parse_response
    for seed in range(FILLED):
        ours = fill(random.Random(f"{layout.name}/{seed}"), layout)
        theirs = _oracle_instance(ours, cls)
        out = io.BytesIO()
        write(out, theirs)
        raw = our_write(key, layout.version, ours)
        assert raw == out.getvalue(), f"seed {seed}"
        assert our_parse(key, layout.version, raw) == ours, f"seed {seed}"
        parsed, size = read(raw, 0)
        assert size == len(raw)
        assert parsed == theirs, f"seed {seed}"


def test_uuid_null_is_one_object() -> None:
    """The comparison above relies on it: the oracle knows None where we know sixteen zero bytes."""
    assert uuid.UUID(bytes=bytes(16)) == m.NULL_UUID
