"""Random messages: every field a version carries gets a value within its wire type's range."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from rivven.protocol import messages as m
from rivven.protocol.api import APIS
from rivven.protocol.layout import Layout
from rivven.protocol.schema import Field, fields_of

BITS = {"i8": 7, "i16": 15, "i32": 31, "i64": 63}
# Every code both we and the oracle know; the wire type is only an int16.
HIGHEST_ERROR_CODE = 119


def _text(rng: random.Random) -> str:
    # Lengths on both sides of the one-byte compact limit (127), and text that is not ASCII.
    length = rng.choice([0, 1, 3, 12, 126, 127, 128, 300])
    return "".join(rng.choice("abcXYZ09-._é漢🦀") for _ in range(length))


def _primitive(rng: random.Random, kind: str, name: str) -> Any:
    if name == "error_code":
        return rng.randint(-1, HIGHEST_ERROR_CODE)
    if kind == "i64" and name.endswith("_timestamp_ms"):
        # The oracle refuses the -1 of an answer that failed; the golden bytes have one.
        return rng.randint(0, 2**30) * 1000
    if kind == "i64" and name.endswith("_ms"):
        # The oracle keeps these as datetime and timedelta: a smaller range than an int64's, and floats
        # inside, which are exact for whole seconds.
        return rng.choice([-1, rng.randint(0, 2**30) * 1000])
    if kind in BITS:
        bits = BITS[kind]
        return rng.choice([0, -1, 1, 2**bits - 1, -(2**bits), rng.randint(-(2**bits), 2**bits - 1)])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "f64":
        return rng.choice([0.0, -0.0, 1.5, -1e300, 5e-324, rng.random()])
    if kind == "uuid":
        return m.NULL_UUID if rng.random() < 0.2 else UUID(int=rng.getrandbits(128))
    if kind == "string":
        return _text(rng)
    return rng.randbytes(rng.choice([0, 1, 100, 127, 128, 5000]))


def _value(rng: random.Random, layout: Layout, field: Field) -> Any:
    if field.nullable_in(layout.version) and rng.random() < 0.2:
        return None
    nested = layout.nested(field)
    if field.kind == "array":
        count = rng.choice([0, 1, 2, 3])
        if nested is None:
            assert field.element is not None
            count = rng.choice([count, 17, 130])
            return [_primitive(rng, field.element, field.name) for _ in range(count)]
        return [_struct(rng, layout, nested) for _ in range(count)]
    if nested is not None:
        filled = _struct(rng, layout, nested)
        # A tagged struct equal to its default is not sent, and comes back as None.
        return None if field.tag is not None and filled == nested() else filled
    return _primitive(rng, field.kind, field.name)


def _struct(rng: random.Random, layout: Layout, struct: type[Any]) -> Any:
    values = {field.name: _value(rng, layout, field) for field in fields_of(struct, layout.version)}
    return struct(**values)


@pytest.fixture(scope="session")
def fill() -> Callable[[random.Random, Layout], Any]:
    """A message of the layout's version, filled at random."""
    return lambda rng, layout: _struct(rng, layout, layout.message)


def all_layouts() -> list[Any]:
    """Every request and response version offered, as pytest parameters (key, version, layout)."""
    found = []
    for declared in (m.REQUESTS, m.RESPONSES):
        for key, api in APIS.items():
            for version in range(api.decodable_from, api.max + 1):
                flexible = api.flexible_from is not None and version >= api.flexible_from
                layout = Layout(declared[key], version, flexible)
                found.append(pytest.param(layout, id=f"{declared[key].__name__}-{version}"))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `layout` runs for every message and version."""
    if "layout" in metafunc.fixturenames:
        metafunc.parametrize("layout", all_layouts())
