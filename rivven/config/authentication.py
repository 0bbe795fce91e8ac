"""The section `auth`: who can log in and how."""

from __future__ import annotations

from pydantic import Field, field_validator

from rivven.config.mtls import MtlsConfig, MtlsMapping
from rivven.config.oidc import OidcConfig
from rivven.config.values import FilePath, Strict

DECOY_SHAPES_MAX = 16  # each costs a hash at every login

ITERATIONS_MIN, ITERATIONS_MAX = 4096, 1_000_000  # clients refuse less and more


class DecoyShape(Strict):
    """How the verifier of an unknown user looks."""

    iterations: int = Field(ge=ITERATIONS_MIN, le=ITERATIONS_MAX, description="Its hash rounds.")
    salt_bytes: int = Field(ge=8, le=128, description="The length of its salt.")


class ScramConfig(Strict):
    """Salted password authentication (RFC 5802, RFC 7677)."""

    iterations: int = Field(
        default=600_000,
        ge=ITERATIONS_MIN,
        le=ITERATIONS_MAX,
        description=(
            "Hash rounds for passwords people choose, when this server makes the verifier. Clients pay for "
            "them at every connection: 600,000 take about 0.6 s. Passwords it generates get 8,192."
        ),
    )
    min_iterations: int = Field(
        default=ITERATIONS_MIN,
        ge=ITERATIONS_MIN,
        le=ITERATIONS_MAX,
        description="The fewest hash rounds AlterUserScramCredentials (API 51) may store.",
    )
    decoy_shapes: list[DecoyShape] = Field(
        default=[
            DecoyShape(iterations=8192, salt_bytes=32),
            DecoyShape(iterations=600_000, salt_bytes=32),
            DecoyShape(iterations=4096, salt_bytes=26),
            DecoyShape(iterations=8192, salt_bytes=26),
            DecoyShape(iterations=4096, salt_bytes=64),
        ],
        min_length=1,
        max_length=DECOY_SHAPES_MAX,
        description=(
            "What unknown users are asked to prove, chosen by a keyed hash of the name: the pairs that "
            "rivven, Kafka's tools and librdkafka make. Add yours if you make verifiers in another way."
        ),
    )


class AuthConfig(Strict):
    """Authentication."""

    mechanism: list[str] = Field(
        default=["SCRAM-SHA-256", "SCRAM-SHA-512"],
        min_length=1,
        max_length=8,
        description="SASL mechanisms of listeners that name none themselves; one name or a list.",
    )
    users_file: FilePath | None = Field(
        default=None,
        description="YAML file of users (password_hash, roles, groups, enabled); taken over when it changes.",
    )
    scram: ScramConfig = Field(default=ScramConfig(), description="SCRAM-SHA-256 and SCRAM-SHA-512.")
    oidc: OidcConfig = Field(default=OidcConfig(), description="Tokens of identity providers.")
    mtls_mapping: MtlsMapping = Field(
        default=MtlsMapping(), description="The principal that a client certificate names."
    )
    mtls: MtlsConfig = Field(default=MtlsConfig(), description="Client certificates.")

    @field_validator("mechanism", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("mechanism")
    @classmethod
    def _in_capitals(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(name.upper() for name in names))
