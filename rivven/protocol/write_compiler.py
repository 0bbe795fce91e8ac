"""Compiles a layout to one straight-line write function: `write(value, out: bytearray) -> None`.

`compile_gather` makes the variant that never touches record batches: `gather(value, out, parts) ->
bytearray` moves what is written so far and then the batches to `parts`, and returns the bytearray that
holds the rest.

Neighbouring fixed-size fields, and the length byte that follows them, are appended by one `pack`. A field the
version does not carry is left out, also when it is set: Kafka refuses some of those, here the handler decides
by the version what it fills in. A value the wire cannot hold (null where none is allowed, a number out of
range) raises one of `WRONG_VALUE_ERRORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import error
from typing import Any, Final

from rivven.protocol import primitives
from rivven.protocol.layout import FIXED_FORMAT, FIXED_SIZE, Layout
from rivven.protocol.schema import NULL_UUID, Field, Message, Struct
from rivven.protocol.source import Source

Write = Callable[[Message, bytearray], None]
Encode = Callable[[Any], bytes | bytearray]
Gather = Callable[[Message, bytearray, list[Any]], bytearray]

WRONG_VALUE_ERRORS: Final = (error, AttributeError, TypeError, ValueError, OverflowError)
"""What a generated write raises for a value that does not fit the version."""


def compile_write(layout: Layout, encoders: Mapping[str, Encode] | None = None) -> Write:
    """The write function of one (message, version).

    `encoders`: for elements of an array of the named struct, the function that returns an element's bytes.
    """
    return _WriteCompiler(layout, encoders=encoders).compile(layout.message)


def compile_struct_write(layout: Layout, struct: type[Struct]) -> Callable[[Any, bytearray], None]:
    """The write function of one nested struct of the layout's message."""
    return _WriteCompiler(layout).compile(struct)


def compile_gather(layout: Layout) -> Gather:
    """The write function of a message that carries record batches, leaving those uncopied."""
    return _WriteCompiler(layout, gather=True).compile_gather()


class _WriteCompiler:
    """Emits code in wire order; `_run` holds fixed-size writes not yet emitted, `_out` names the target."""

    def __init__(
        self, layout: Layout, *, gather: bool = False, encoders: Mapping[str, Encode] | None = None
    ) -> None:
        self._layout = layout
        self._encoders = encoders or {}
        self._gather = gather
        scope = {"uvarint": primitives.uvarint, "pack_ints": primitives.pack_ints, "NULL_UUID": NULL_UUID}
        self._source = Source(f"def write(value, out{', parts' if gather else ''}):", scope)
        self._run: list[tuple[str, str]] = []
        self._out = "out"

    def compile(self, struct: type[Struct]) -> Callable[[Any, bytearray], None]:
        self._struct(struct, "value")
        self._flush()
        self._source.line("return None")
        write: Write = self._source.compile("write")
        return write

    def compile_gather(self) -> Gather:
        self._struct(self._layout.message, "value")
        self._flush()
        self._source.line("return out")
        gather: Gather = self._source.compile("write")
        return gather

    def _flush(self) -> None:
        run, self._run = self._run, []
        if run:
            self._source.line(f"{self._out} += {self._packed(run)}")

    def _packed(self, run: list[tuple[str, str]]) -> str:
        codes = "".join(code for code, _ in run)
        values = ", ".join(value for code, value in run if code != "x")
        return f"{self._source.packer(codes)}({values})"

    def _struct(self, struct: type[Struct], value: str) -> None:
        for field in self._layout.plain(struct):
            self._field(field, f"{value}.{field.name}")
        if self._layout.flexible:
            self._tags(struct, value)

    def _field(self, field: Field, value: str) -> None:
        nullable = field.nullable_in(self._layout.version)
        if field.kind == "uuid":
            self._run.append(("16s", f"{value}.bytes"))
        elif field.kind in FIXED_FORMAT:
            self._run.append((FIXED_FORMAT[field.kind], value))
        elif field.kind == "array":
            self._array(field, value, nullable)
        elif field.kind == "struct":
            self._nested_struct(field, value, nullable)
        elif field.kind == "records":
            self._records(value, nullable)
        else:
            self._sized(field.kind, value, nullable)

    def _length(self, kind: str, length: str) -> None:
        """Append a length that is one too high already when compact (0 = null)."""
        if not self._layout.flexible:
            self._run.append(("h" if kind == "string" else "i", length))
            self._flush()
            return
        run, self._run = self._run, []
        with self._source.block(f"if {length} < 128:"):
            self._source.line(f"{self._out} += {self._packed([*run, ('B', length)])}")
        with self._source.block("else:"):
            if run:
                self._source.line(f"{self._out} += {self._packed(run)}")
            self._source.line(f"{self._out} += uvarint({length})")

    def _sized(self, kind: str, value: str, nullable: bool) -> None:
        """A string or bytes value."""
        source = self._source
        raw, length = source.fresh("b"), source.fresh("n")
        extra = " + 1" if self._layout.flexible else ""
        null = "0" if self._layout.flexible else "-1"
        encode = ".encode()" if kind == "string" else ""
        if nullable:
            source.line(f"{raw} = {value}")
            with source.block(f"if {raw} is None:"):
                source.line(f"{raw} = b''; {length} = {null}")
            with source.block("else:"):
                source.line(f"{raw} = {raw}{encode}; {length} = len({raw}){extra}")
        else:
            source.line(f"{raw} = {value}{encode}; {length} = len({raw}){extra}")
        self._length(kind, length)
        source.line(f"{self._out} += {raw}")

    def _records(self, value: str, nullable: bool) -> None:
        """Record batches in one buffer or several: copied into the output, or gathered beside it."""
        source = self._source
        raw, length = source.fresh("b"), source.fresh("n")
        extra = " + 1" if self._layout.flexible else ""
        null = "0" if self._layout.flexible else "-1"
        source.line(f"{raw} = {value}")
        if nullable:
            with source.block(f"if {raw} is None:"):
                source.line(f"{raw} = (); {length} = {null}")
        with source.block(f"{'elif' if nullable else 'if'} type({raw}) is list:"):
            source.line(f"{length} = sum(map(len, {raw})){extra}")
        with source.block("else:"):
            source.line(f"{length} = len({raw}){extra}; {raw} = ({raw},) if len({raw}) else ()")
        self._length("records", length)
        if self._gather:
            assert self._out == "out", "record batches never stand inside a tagged field"
            source.line(f"if {raw}: parts.append(out); parts += {raw}; out = bytearray()")
        else:
            source.line(f"for part in {raw}: {self._out} += part")

    def _nested_struct(self, field: Field, value: str, nullable: bool) -> None:
        nested = self._layout.nested(field)
        assert nested is not None
        source = self._source
        self._flush()
        inner = source.fresh("o")
        source.line(f"{inner} = {value}")
        if field.tag is None and nullable:
            with source.block(f"if {inner} is None:"):
                source.line(f"{self._out} += b'\\xff'")
            with source.block("else:"):
                source.line(f"{self._out} += b'\\x01'")
                self._struct(nested, inner)
                self._flush()
        else:
            self._struct(nested, inner)

    def _array(self, field: Field, value: str, nullable: bool) -> None:
        source = self._source
        values, count = source.fresh("l"), source.fresh("n")
        extra = " + 1" if self._layout.flexible else ""
        source.line(f"{values} = {value}")
        if nullable:
            null = "0" if self._layout.flexible else "-1"
            source.line(f"{count} = {null} if {values} is None else len({values}){extra}")
        else:
            source.line(f"{count} = len({values}){extra}")
        self._length("array", count)
        with source.block(f"if {values}:"):
            self._elements(field, values)

    def _elements(self, field: Field, values: str) -> None:
        source = self._source
        element = field.element or ""
        if element in FIXED_SIZE:
            source.line(f"{self._out} += pack_ints({values}, {FIXED_SIZE[element]})")
            return
        item = source.fresh("o")
        with source.block(f"for {item} in {values}:"):
            nested = self._layout.nested(field)
            if element in self._encoders:
                encode = source.constant("encode", self._encoders[element])
                source.line(f"{self._out} += {encode}({item})")
            elif nested is not None:
                self._struct(nested, item)
                self._flush()
            else:
                self._sized(element, item, False)

    def _tags(self, struct: type[Struct], value: str) -> None:
        """A tagged field is sent only when it differs from its default (KIP-482)."""
        tagged = self._layout.tagged(struct)
        if not tagged:
            # One zero byte: no tagged fields.
            self._run.append(("x", ""))
            return
        source, outer = self._source, self._out
        self._flush()
        count, body = source.fresh("t"), source.fresh("x")
        source.line(f"{count} = 0; {body} = bytearray()")
        for field in tagged:
            one = source.fresh("y")
            with source.block(f"if {self._differs(field, f'{value}.{field.name}')}:"):
                source.line(f"{count} += 1; {one} = bytearray()")
                self._out = one
                self._field(field, f"{value}.{field.name}")
                self._flush()
                source.line(f"{body} += uvarint({field.tag}) + uvarint(len({one})) + {one}")
        self._out = outer
        source.line(f"{outer}.append({count}); {outer} += {body}")

    def _differs(self, field: Field, value: str) -> str:
        if field.default == "empty":
            return (
                f"{value} is None or len({value})"
                if field.nullable_in(self._layout.version)
                else f"len({value})"
            )
        if field.kind == "uuid":
            return f"{value} != NULL_UUID"
        if field.kind == "struct":
            # None means "not sent"; a struct that equals its own default is the same on the wire.
            nested = self._source.constant("Nested", self._layout.nested(field))
            return f"{value} is not None and {value} != {nested}()"
        return f"{value} != {field.default!r}"
