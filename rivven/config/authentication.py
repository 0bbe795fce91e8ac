"""The section `auth`: who can log in and how."""

from __future__ import annotations

from pydantic import Field

from rivven.config.values import Strict


class ScramConfig(Strict):
    """Salted password authentication (RFC 5802, RFC 7677)."""

    iterations: int = Field(
        default=8192,
        ge=4096,
        le=1_000_000,  # clients refuse less and more
        description=(
            "Hash rounds of verifiers this server makes, and told to clients that name an unknown user."
        ),
    )


class AuthConfig(Strict):
    """Authentication."""

    scram: ScramConfig = Field(default=ScramConfig(), description="SCRAM-SHA-256 and SCRAM-SHA-512.")
