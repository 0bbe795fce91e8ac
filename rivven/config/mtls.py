"""The sections about client certificates: which name in one is the principal, and which are refused.

Values and their contradictions only; the deny-list's file is read by the broker, again whenever it changes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rivven.config.values import FilePath, Strict

RULES_MAX = 64  # each is tried at each login until one matches
DENIED_MAX = 1_000  # more belong into denied_file
TEXT_MAX = 1_024  # characters of a rule or an entry


class MtlsMapping(Strict):
    """How a client certificate names the principal."""

    type: Literal["distinguished_name", "common_name", "san_dns", "san_uri", "rules"] = Field(
        default="distinguished_name",
        description="Which name; rules are Kafka's ssl.principal.mapping.rules over the whole subject.",
    )
    rules: list[Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]] = Field(
        default=[],
        max_length=RULES_MAX,
        description="RULE:pattern/replacement/ and maybe L or U, or DEFAULT; the first that matches wins.",
    )
    prefix: str = Field(
        default="",
        max_length=64,
        description="Put before every name; required with more than one external source of names.",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> MtlsMapping:
        if (self.type == "rules") != bool(self.rules):
            raise ValueError("rules go with type: rules, and type: rules needs them")
        return self


class MtlsConfig(Strict):
    """Client certificates that are refused although an authority vouches for them."""

    denied: list[Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]] = Field(
        default=[],
        max_length=DENIED_MAX,
        description="Refused certificates: sha256:FINGERPRINT, or serial:NUMBER, also with issuer:NAME.",
    )
    denied_file: FilePath | None = Field(
        default=None,
        description="More of them, one a line; taken over when it changes, live connections included.",
    )
