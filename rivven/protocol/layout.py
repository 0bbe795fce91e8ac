"""What a (message, version) looks like on the wire, computed from its declaration.

Knows byte sizes and nesting, writes no code and reads no bytes; `parse_compiler` and `write_compiler` ask it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rivven.protocol.schema import Field, Message, Struct, fields_of

FIXED_FORMAT: Final = {
    "i8": "b",
    "i16": "h",
    "i32": "i",
    "i64": "q",
    "f64": "d",
    "boolean": "?",
    "uuid": "16s",
}
"""struct codes of the fields that always take the same room."""

FIXED_SIZE: Final = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "f64": 8, "boolean": 1, "uuid": 16}


@dataclass(frozen=True, slots=True)
class Layout:
    """One message in one version. `name` prefixes error texts."""

    message: type[Message]
    version: int
    flexible: bool

    @property
    def name(self) -> str:
        """For error texts: 'FetchRequest v12'."""
        return f"{self.message.__name__} v{self.version}"

    @property
    def carries_records(self) -> bool:
        """Whether record batches are somewhere inside: such messages are handled by views, not copies."""
        return self._has_records(self.message)

    def _has_records(self, struct: type[Struct]) -> bool:
        return any(
            field.kind == "records" or (nested is not None and self._has_records(nested))
            for field in fields_of(struct, self.version)
            for nested in [self.nested(field)]
        )

    def plain(self, struct: type[Struct]) -> list[Field]:
        """The fields written in line, in wire order."""
        return [field for field in fields_of(struct, self.version) if field.tag is None]

    def tagged(self, struct: type[Struct]) -> list[Field]:
        """The fields written as tagged fields, ascending by tag."""
        found = [field for field in fields_of(struct, self.version) if field.tag is not None]
        return sorted(found, key=lambda field: field.tag or 0)

    def absent(self, struct: type[Struct]) -> list[Field]:
        """The fields this version does not carry."""
        return [field for field in struct.__fields__ if not field.in_version(self.version)]

    def nested(self, field: Field) -> type[Struct] | None:
        """The struct a field holds, or None when it holds primitives."""
        found: type[Struct] | None = getattr(self.message, field.element or "", None)
        return found

    def minimum_size(self, struct: type[Struct]) -> int:
        """The fewest bytes one value can take: bounds an array count before anything is allocated."""
        size = sum(self._minimum_field_size(field) for field in self.plain(struct))
        return max(1, size + (1 if self.flexible else 0))

    def minimum_element_size(self, field: Field) -> int:
        """The fewest bytes one element of an array field can take."""
        nested = self.nested(field)
        if nested is not None:
            return self.minimum_size(nested)
        element = field.element or ""
        return FIXED_SIZE.get(element) or self._minimum_length_size(element)

    def _minimum_field_size(self, field: Field) -> int:
        if field.kind in FIXED_SIZE:
            return FIXED_SIZE[field.kind]
        if field.kind == "struct":
            nested = self.nested(field)
            if field.nullable_in(self.version) or nested is None:
                return 1
            return self.minimum_size(nested)
        return self._minimum_length_size(field.kind)

    def _minimum_length_size(self, kind: str) -> int:
        if self.flexible:
            return 1
        return 2 if kind == "string" else 4
