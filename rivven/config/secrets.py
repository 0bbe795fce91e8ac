"""References to secrets: the configuration names where a secret is, never the secret itself.

A reference is `file:PATH` or `env:NAME`. Its repr and every error show the reference only; a literal secret
written in its place is refused without being repeated.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SECRET_BYTES_MAX = 65_536  # a password or key file; anything larger is the wrong file


class SecretReference:
    """Where a secret is kept; `reveal()` reads it, nothing else ever holds it."""

    __slots__ = ("_place", "_scheme")

    def __init__(self, text: str) -> None:
        scheme, colon, place = text.partition(":")
        if not colon or scheme not in ("file", "env") or not place:
            raise ValueError("must be a reference, file:PATH or env:NAME, not the secret itself")
        self._scheme = scheme
        self._place = place

    @property
    def path(self) -> Path | None:
        """The file that holds it, to be watched; None when it is in the environment."""
        return Path(self._place) if self._scheme == "file" else None

    def reveal(self) -> str:
        """The secret without a trailing newline; raises ValueError naming the reference when it cannot be
        read."""
        if self._scheme == "env":
            secret = os.environ.get(self._place)
            if secret is None:
                raise ValueError(f"{self}: the environment has no such variable")
        else:
            secret = self._read()
        if not secret:
            raise ValueError(f"{self}: the secret is empty")
        return secret

    def _read(self) -> str:
        try:
            with Path(self._place).open("rb") as file:
                content = file.read(SECRET_BYTES_MAX + 1)
            if len(content) > SECRET_BYTES_MAX:
                raise ValueError(f"{self}: larger than {SECRET_BYTES_MAX} bytes")
            return content.decode().rstrip("\r\n")
        except OSError as error:
            raise ValueError(f"{self}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{self}: is not UTF-8 text") from None

    def __str__(self) -> str:
        return f"{self._scheme}:{self._place}"

    def __repr__(self) -> str:
        return f"SecretReference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretReference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )
