"""The section `auth.oidc`: identity providers whose signed tokens are accepted (OAUTHBEARER, HTTP bearer).

Values and their contradictions only; reading `issuers_file` is `issuers_file`'s, fetching keys the broker's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from rivven.config.values import Address, FilePath, Strict

ISSUERS_MAX = 32  # each is a task that fetches keys, and a set of keys in memory
NAMES_MAX = 64  # audiences of one issuer
GROUP_ROLES_MAX = 1_000  # entries of one mapping, looked at on every change of the issuers
TEXT_MAX = 512  # characters of a URL, an audience, a claim's name

Text = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key only (RFC 7518, RFC 8037): with HS256 whoever can verify can also sign."""


class OidcIssuerConfig(Strict):
    """One identity provider."""

    issuer: Text = Field(description="The exact value of the claim iss.")
    discovery_url: Text | None = Field(
        default=None,
        description="The provider's discovery document; by default issuer/.well-known/openid-configuration.",
    )
    jwks_url: Text | None = Field(
        default=None, description="The provider's key set; given, no discovery document is fetched."
    )
    audiences: list[Text] = Field(
        min_length=1, max_length=NAMES_MAX, description="A token must name one of them in the claim aud."
    )
    algorithms: list[Algorithm] = Field(
        default=["RS256", "ES256"], min_length=1, description="Signature algorithms accepted."
    )
    token_types: list[Literal["JWT", "at+jwt"]] = Field(
        default=["JWT", "at+jwt"],
        min_length=1,
        description="Values of the header typ accepted; a missing one counts as JWT.",
    )
    clock_skew_secs: int = Field(
        default=30, ge=0, le=300, description="How far the provider's clock may be from ours."
    )
    principal_claim: Text = Field(default="sub", description="The claim that becomes the user's name.")
    groups_claim: Text | None = Field(
        default=None,
        description="The claim with the names of groups; a path into nested claims starts with a slash.",
    )
    prefix: str = Field(
        default="",
        max_length=64,
        description="Put before every user name; required with more than one external source of names.",
    )
    group_prefix: str | None = Field(
        default=None, max_length=64, description="Put before every group name; prefix by default."
    )
    group_roles: dict[Text, Text] = Field(
        default={},
        max_length=GROUP_ROLES_MAX,
        description="The role that members of a group have, by the provider's own name of the group.",
    )
    ca_path: FilePath | None = Field(
        default=None,
        description="The authorities trusted for the provider's server; the system's by default.",
    )
    jwks_refresh_secs: int = Field(
        default=300, ge=10, le=86_400, description="How often the key set is fetched."
    )

    @property
    def own_group_prefix(self) -> str:
        """The prefix of groups."""
        return self.prefix if self.group_prefix is None else self.group_prefix

    @field_validator("issuer", "discovery_url", "jwks_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None:
            split_url(url)
        return url

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> OidcIssuerConfig:
        if self.discovery_url is not None and self.jwks_url is not None:
            raise ValueError("jwks_url replaces discovery: remove it or discovery_url")
        if self.group_roles and self.groups_claim is None:
            raise ValueError("group_roles has no meaning without groups_claim")
        return self

    @property
    def document_url(self) -> str:
        """Where the first document is fetched from."""
        default = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        return self.jwks_url or self.discovery_url or default


class OidcConfig(Strict):
    """Identity providers (OpenID Connect, OAuth 2.0 access tokens as JWTs)."""

    issuers: list[OidcIssuerConfig] = Field(
        default=[], max_length=ISSUERS_MAX, description="Identity providers."
    )
    issuers_file: FilePath | None = Field(
        default=None,
        description=(
            "A YAML file with more issuers under the key issuers, followed while the broker runs: "
            "taking an issuer out ends its connections."
        ),
    )

    @property
    def given(self) -> bool:
        """Whether there are or can be issuers."""
        return bool(self.issuers) or self.issuers_file is not None


def split_url(url: str) -> SplitResult:
    """The parts of an absolute http or https URL without user, query or fragment. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must be a URL that starts with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must not hold a user, a password or a fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must hold printable ASCII characters only")
    parts.port  # noqa: B018 - raises ValueError for what is no port
    return parts


def url_problem(url: str, insecure: bool) -> str | None:
    """Why keys must not be fetched from `url`; None when they may be. Keys that came in the clear would let
    whoever changed them log in as anybody."""
    try:
        parts = split_url(url)
    except ValueError as error:
        return str(error)
    if parts.scheme == "https" or (insecure and Address(parts.hostname or "", 0).loopback):
        return None
    return "must be https (http only to this machine, with insecure: true)"


def issuers_problem(
    issuers: Sequence[OidcIssuerConfig], insecure: bool, others: Mapping[str, str] | None = None
) -> str | None:
    """Why these issuers cannot be trusted together; None when they can. `others` holds the prefixes of other
    external sources of names, by what to call them. The text starts with the key of the wrong issuer."""
    for index, one in enumerate(issuers):
        problem = url_problem(one.document_url, insecure)
        if problem:
            return f"issuers[{index}]: {one.document_url} {problem}"
    if len({one.issuer for one in issuers}) < len(issuers):
        return "issuers: an issuer is given twice"
    if len(issuers) > ISSUERS_MAX:
        return f"issuers: more than {ISSUERS_MAX}"
    users = {f"issuer {one.issuer}": one.prefix for one in issuers} | dict(others or {})
    groups = {f"issuer {one.issuer}": one.own_group_prefix for one in issuers if one.groups_claim}
    return prefixes_problem(users, "prefix") or prefixes_problem(groups, "group_prefix")


def prefixes_problem(prefixes: Mapping[str, str], key: str) -> str | None:
    """Why names from these sources could be mistaken for each other: with several sources each needs a prefix
    of its own, and none may begin with another (``a-`` + ``b-x`` is ``a-b-`` + ``x``)."""
    if len(prefixes) < 2:
        return None
    for source, prefix in prefixes.items():
        if not prefix:
            return f"issuers: {source} needs a {key}, as it is not the only external source of names"
    for (one, first), (other, second) in combinations(prefixes.items(), 2):
        if first.startswith(second) or second.startswith(first):
            return f"issuers: the {key} {first!r} of {one} and {second!r} of {other} can be mistaken"
    return None
