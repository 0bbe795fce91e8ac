"""A small builder for generated Python source: indentation, fresh names, bound constants.

Only text is handled here; what it does is the business of the two compilers. Every name that reaches the
source comes from our own declarations, never from foreign bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any


class Source:
    """Lines of one function and the objects they refer to."""

    def __init__(self, head: str, scope: dict[str, Any]) -> None:
        self._lines = [head]
        self._depth = 1
        self._counter = 0
        self.scope = scope

    def line(self, text: str) -> None:
        """One statement at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A compound statement; what is emitted inside is indented below it."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def fresh(self, prefix: str) -> str:
        """A local name not used before in this function."""
        self._counter += 1
        return f"{prefix}{self._counter}"

    def constant(self, prefix: str, value: Any) -> str:
        """A name bound to `value` in the function's globals."""
        name = f"{prefix}_{len(self.scope)}"
        self.scope[name] = value
        return name

    def packer(self, codes: str) -> str:
        """The name of `Struct(">codes").pack`."""
        return self._struct_method("pack", codes)

    def unpacker(self, codes: str) -> str:
        """The name of `Struct(">codes").unpack_from`."""
        return self._struct_method("unpack_from", codes)

    def _struct_method(self, method: str, codes: str) -> str:
        name = f"{method}_{codes.replace('?', 'z')}"
        if name not in self.scope:
            self.scope[name] = getattr(Struct(f">{codes}"), method)
        return name

    def compile(self, name: str) -> Any:
        """Execute the text and return the function it defines."""
        exec("\n".join(self._lines), self.scope)  # noqa: S102
        return self.scope[name]

    def text(self) -> str:
        """The source so far, for tests and debugging."""
        return "\n".join(self._lines)
