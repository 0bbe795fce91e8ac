"""The sections about TLS: certificates, keys, and who may show which certificate. Values only.

The files themselves are read by the broker, at its start and whenever their content changes.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rivven.config.secrets import SecretReference
from rivven.config.values import FilePath, Strict

PAIRS_MAX = 4
"""A listener needs one certificate for each kind of key its clients know: ECDSA and RSA, seldom Ed25519."""

NAMES_MAX = 64
"""Each is a certificate that is read, watched and kept in a context of its own."""

CIPHERS_TLS_1_2 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Every forward-secret AEAD suite of TLS 1.2 in OpenSSL's names; those of TLS 1.3 are all acceptable."""

_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class CertificatePair(Strict):
    """A certificate and its key (PEM files)."""

    cert_path: FilePath = Field(description="The certificate followed by its intermediates, PEM.")
    key_path: FilePath = Field(description="The private key of the certificate, PEM.")
    key_password: SecretReference | None = Field(
        default=None, description="Reference to the password of an encrypted key: file:PATH or env:NAME."
    )


class TlsConfig(CertificatePair):
    """Certificate and key of a TLS listener (PEM files)."""

    certificates: list[CertificatePair] = Field(
        default=[],
        max_length=PAIRS_MAX - 1,
        description="Further certificates with other kinds of keys: RSA beside ECDSA; clients choose.",
    )
    sni: dict[str, CertificatePair] = Field(
        default={},
        max_length=NAMES_MAX,
        description="Other certificates by the host name a client asks for; *.example.com covers one label.",
    )
    ca_path: FilePath | None = Field(
        default=None, description="The authorities that may issue client certificates, PEM."
    )
    client_auth: Literal["none", "optional", "required"] = Field(
        default="none", description="Whether clients show a certificate of one of these authorities."
    )
    crl_path: FilePath | None = Field(
        default=None,
        description="Revocation lists of these authorities, PEM; an authority without a list is not checked.",
    )
    crl_expired: Literal["reject", "allow"] = Field(
        default="reject",
        description="What a list past its next update means for certificates of its authority.",
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="The oldest TLS version accepted; 1.3 is always preferred."
    )
    ciphers: list[str] = Field(
        default=[],
        max_length=len(CIPHERS_TLS_1_2),
        description="The suites offered for TLS 1.2, all forward-secret AEAD ones by default.",
    )

    @field_validator("sni")
    @classmethod
    def _host_names(cls, pairs: dict[str, CertificatePair]) -> dict[str, CertificatePair]:
        for name in pairs:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name in lower case, with or without a leading *.")
        return pairs

    @field_validator("ciphers")
    @classmethod
    def _sound_ciphers(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in CIPHERS_TLS_1_2:
                raise ValueError(f"{name!r} is none of {', '.join(CIPHERS_TLS_1_2)}")
        return names

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> TlsConfig:
        if (self.client_auth == "none") != (self.ca_path is None):
            raise ValueError("ca_path and client_auth optional or required go together")
        if self.crl_path is not None and self.ca_path is None:
            raise ValueError("crl_path has no meaning without ca_path and client_auth")
        if self.crl_path is None and self.crl_expired != "reject":
            raise ValueError("crl_expired has no meaning without crl_path")
        if self.ciphers and self.min_version == "1.3":
            raise ValueError("ciphers are those of TLS 1.2, which min_version refuses")
        return self
