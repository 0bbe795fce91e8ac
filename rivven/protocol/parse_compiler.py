"""Compiles a layout to one straight-line parse function: `parse(buf, pos, end) -> (value, pos)`.

Neighbouring fixed-size fields, and the length byte that follows them, are read by one `unpack_from`. Each
length and count is compared with the bytes that remain before anything is allocated; `end` is `len(buf)`.

Most functions read `bytes`. A message that carries record batches is read from a `memoryview` instead, and
its records stay views of it: the megabytes of a Produce request are never copied.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import calcsize
from typing import Any, Final

from rivven.protocol import primitives
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.layout import FIXED_FORMAT, FIXED_SIZE, Layout
from rivven.protocol.schema import NULL_UUID, Field, Message, Request, Struct
from rivven.protocol.source import Source

MAX_ELEMENTS: Final = 200_000
"""Array elements of one request, counted over all its arrays: six bytes of a Produce request can become 250
bytes of objects before anyone has asked whether the sender may. Real requests name a few thousand things."""

Parse = Callable[[Any, int, int], tuple[Message, int]]


def compile_parse(layout: Layout) -> Parse:
    """The parse function of one (message, version); a few hundred microseconds, done once."""
    return _ParseCompiler(layout).compile()


def _too_many() -> ProtocolError:
    return ProtocolError(f"more than {MAX_ELEMENTS} array elements in one request")


class _ParseCompiler:
    """Emits code in wire order; `_run` holds fixed-size reads not yet emitted."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._views = layout.carries_records
        self._bounded = issubclass(layout.message, Request)
        scope = {
            "new": object.__new__,
            "uvarint": primitives.read_uvarint,
            "truncated": primitives.truncated,
            "too_many": _too_many,
            "null_refused": primitives.null_refused,
            "read_ints": primitives.read_ints,
            "to_uuid": primitives.to_uuid,
            "NULL_UUID": NULL_UUID,
            "ProtocolError": ProtocolError,
        }
        self._source = Source("def parse(buf, pos, end):", scope)
        self._run: list[tuple[str, str]] = []

    def compile(self) -> Parse:
        if self._bounded:
            self._source.line(f"left = {MAX_ELEMENTS}")
        value = self._struct(self._layout.message)
        self._flush()
        self._source.line(f"return {value}, pos")
        parse: Parse = self._source.compile("parse")
        return parse

    def _flush(self) -> None:
        """Emit the pending fixed-size reads as one unpack."""
        run, self._run = self._run, []
        if not run:
            return
        codes = "".join(code for code, _ in run)
        if codes == "B":
            self._source.line(f"{run[0][1]} = buf[pos]; pos += 1")
            return
        targets = ", ".join(target for _, target in run)
        self._source.line(
            f"({targets},) = {self._source.unpacker(codes)}(buf, pos); pos += {calcsize('>' + codes)}"
        )

    def _struct(self, struct: type[Struct]) -> str:
        """Emit a struct; in a classic layout its last fields may still be pending."""
        source, layout = self._source, self._layout
        value = source.fresh("o")
        cls = source.constant(struct.__name__, struct)
        source.line(f"{value} = new({cls})")
        for field in layout.absent(struct) + layout.tagged(struct):
            source.line(f"{value}.{field.name} = {self._default(field)}")
        for field in layout.plain(struct):
            self._field(field, f"{value}.{field.name}")
        if layout.flexible:
            self._tags(struct, value)
        return value

    def _default(self, field: Field) -> str:
        if field.default == "empty":
            return "[]"
        if field.kind == "uuid":
            return "NULL_UUID"
        return repr(field.default)

    def _field(self, field: Field, target: str) -> None:
        if field.kind == "uuid":
            raw = self._source.fresh("u")
            self._run.append(("16s", raw))
            self._flush()
            self._source.line(f"{target} = to_uuid({raw})")
        elif field.kind in FIXED_FORMAT:
            self._run.append((FIXED_FORMAT[field.kind], target))
        elif field.kind == "array":
            self._array(field, target)
        elif field.kind == "struct":
            self._nested_struct(field, target)
        else:
            self._sized(field.kind, field.name, field.nullable_in(self._layout.version), target)

    def _length(self, kind: str) -> str:
        """Emit the read of a length or count; the name holds it, -1 for null."""
        source = self._source
        length = source.fresh("n")
        if self._layout.flexible:
            self._run.append(("B", length))
            self._flush()
            with source.block(f"if {length} > 127:"):
                source.line(f"{length}, pos = uvarint(buf, pos - 1)")
            source.line(f"{length} -= 1")
        else:
            self._run.append(("h" if kind == "string" else "i", length))
            self._flush()
        return length

    def _null_check(self, name: str, nullable: bool, length: str) -> None:
        """Emit the refusal of lengths below zero, or below -1 where null is allowed."""
        if nullable and self._layout.flexible:
            return
        bound = -1 if nullable else 0
        with self._source.block(f"if {length} < {bound}:"):
            self._source.line(f"raise null_refused({name!r})")

    def _sized(self, kind: str, name: str, nullable: bool, target: str) -> None:
        """A string, bytes or records value."""
        source = self._source
        length = self._length(kind)
        self._null_check(name, nullable, length)
        stop = source.fresh("e")
        read = {
            "string": f"str(buf[pos:{stop}], 'utf-8')" if self._views else f"buf[pos:{stop}].decode()",
            "blob": f"bytes(buf[pos:{stop}])" if self._views else f"buf[pos:{stop}]",
            "records": f"buf[pos:{stop}]",
        }[kind]
        body = [
            f"{stop} = pos + {length}",
            f"if {stop} > end: raise truncated({name!r})",
            f"{target} = {read}",
        ]
        if nullable:
            with source.block(f"if {length} == -1:"):
                source.line(f"{target} = None")
            with source.block("else:"):
                for text in [*body, f"pos = {stop}"]:
                    source.line(text)
        else:
            for text in [*body, f"pos = {stop}"]:
                source.line(text)

    def _nested_struct(self, field: Field, target: str) -> None:
        nested = self._layout.nested(field)
        assert nested is not None
        source = self._source
        if field.tag is None and field.nullable_in(self._layout.version):
            present = source.fresh("n")
            self._run.append(("b", present))
            self._flush()
            source.line(f"{target} = None")
            with source.block(f"if {present} >= 0:"):
                value = self._struct(nested)
                self._flush()
                source.line(f"{target} = {value}")
            return
        self._flush()
        source.line(f"{target} = {self._struct(nested)}")

    def _array(self, field: Field, target: str) -> None:
        source, layout = self._source, self._layout
        nullable = field.nullable_in(layout.version)
        count = self._length("array")
        self._null_check(field.name, nullable, count)
        smallest = layout.minimum_element_size(field)
        room = "end - pos" if smallest == 1 else f"(end - pos) // {smallest}"
        source.line(f"if {count} > {room}: raise truncated({field.name!r})")
        if nullable:
            with source.block(f"if {count} == -1:"):
                source.line(f"{target} = None")
            with source.block("else:"):
                self._elements(field, count, target)
        else:
            self._elements(field, count, target)

    def _elements(self, field: Field, count: str, target: str) -> None:
        source = self._source
        if self._bounded:
            source.line(f"left -= {count}")
            source.line("if left < 0: raise too_many()")
        element = field.element or ""
        if element in FIXED_SIZE:
            size = FIXED_SIZE[element]
            source.line(f"{target} = read_ints(buf, pos, {count}, {size}); pos += {count} * {size}")
            return
        values = source.fresh("l")
        source.line(f"{target} = {values} = []")
        with source.block(f"for _ in range({count}):"):
            nested = self._layout.nested(field)
            if nested is not None:
                value = self._struct(nested)
                self._flush()
                source.line(f"{values}.append({value})")
            else:
                value = source.fresh("v")
                self._sized(element, field.name, False, value)
                source.line(f"{values}.append({value})")

    def _tags(self, struct: type[Struct], value: str) -> None:
        """Known tags are read and must fill their size exactly; unknown ones are skipped (KIP-482)."""
        source = self._source
        count = source.fresh("t")
        self._run.append(("B", count))
        self._flush()
        with source.block(f"if {count}:"):
            with source.block(f"if {count} > 127:"):
                source.line(f"{count}, pos = uvarint(buf, pos - 1)")
            # A tagged field takes at least two bytes.
            source.line(f"if {count} > (end - pos) // 2: raise truncated('tagged fields')")
            with source.block(f"for _ in range({count}):"):
                stop, tag = source.fresh("e"), source.fresh("g")
                source.line(f"{tag}, pos = uvarint(buf, pos); {stop}, pos = uvarint(buf, pos); {stop} += pos")
                source.line(f"if {stop} > end: raise truncated('tagged field')")
                for field in self._layout.tagged(struct):
                    with source.block(f"if {tag} == {field.tag}:"):
                        self._field(field, f"{value}.{field.name}")
                        self._flush()
                        source.line(
                            f"if pos != {stop}: raise ProtocolError('tagged field size does not match')"
                        )
                        source.line("continue")
                source.line(f"pos = {stop}")
