"""Whatever stands in a certificate file, reading it ends with facts or the typed error; names likewise."""

from __future__ import annotations

import ssl
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import example, given
from hypothesis import strategies as st

from rivven.security import pki
from rivven.security.crls import UnusableCrl, parse_crls
from rivven.security.tls_chains import chain_problem
from rivven.security.tls_inspection import (
    CertificateFileError,
    certificate_facts,
    chain_expiry,
    revocation_list_facts,
)
from rivven.security.tls_trust import ClientTrust

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KEY = pki.make_key()
AUTHORITY = pki.Authority((pki.make_authority(pki.subject_name("CA"), KEY, NOW, timedelta(days=900)),), KEY)
NAMES = tuple(map(pki.alternative_name, ("localhost", "10.0.0.1", "spiffe://example/a")))
LEAF = pki.issue(
    pki.Request(pki.subject_name("leaf"), NAMES, "node", timedelta(days=90)), KEY, AUTHORITY, NOW
).public_bytes(Encoding.DER)
LIST = pki.revocation_list(
    AUTHORITY,
    [pki.revoked_entry(AUTHORITY.certificate, x509.ReasonFlags.superseded, NOW)],
    3,
    NOW,
    timedelta(days=30),
).public_bytes(Encoding.DER)


def read_all(content: bytes) -> None:
    """Everything that reads such a file; only the typed error may come out."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        for read in (chain_expiry, certificate_facts, revocation_list_facts):
            try:
                read(Path(file.name))
            except CertificateFileError as error:
                assert str(error).startswith(file.name) and "\n" not in str(error)


def judge_all(der: bytes) -> None:
    """What a running broker does with a certificate that OpenSSL has parsed: chain, client, authority."""
    authority = AUTHORITY.certificate.public_bytes(Encoding.DER)
    chain_problem([der, authority], NOW_MS)
    chain_problem([LEAF, der], NOW_MS)
    ClientTrust([authority]).judge([der], NOW_MS)
    try:
        ClientTrust([der]).judge([LEAF], NOW_MS)
    except ValueError:
        pass


def judge_list(pem: bytes) -> None:
    try:
        for one in parse_crls(pem, NOW_MS):
            one.is_of(AUTHORITY.certificate)
    except UnusableCrl:
        pass


def changed(der: bytes, position: int, value: int) -> bytes:
    altered = bytearray(der)
    altered[position % len(der)] = value
    return bytes(altered)


def as_list(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "X509 CRL").encode()


@given(st.integers(0, 5000), st.integers(0, 255))
@example(LEAF.index(bytes.fromhex("a003020102")) + 4, 19)  # a version nobody knows
@example(LIST.index(bytes.fromhex("020101")) + 2, 19)
def test_one_byte_changed(position: int, value: int) -> None:
    certificate, revoked = changed(LEAF, position, value), as_list(changed(LIST, position, value))
    read_all(ssl.DER_cert_to_PEM_cert(certificate).encode())
    read_all(revoked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # serial numbers below one
        judge_all(certificate)
        judge_list(revoked)


@given(st.integers(0, 5000))
def test_cut_off(length: int) -> None:
    read_all(ssl.DER_cert_to_PEM_cert(LEAF[: length % len(LEAF)]).encode())
    read_all(as_list(LIST[: length % len(LIST)]))


@given(st.binary(max_size=300))
def test_anything(content: bytes) -> None:
    read_all(content)
    read_all(b"-----BEGIN CERTIFICATE-----\n" + content + b"\n-----END CERTIFICATE-----\n")


@given(st.text(max_size=80))
def test_names_are_taken_or_refused(text: str) -> None:
    for take in (pki.alternative_name, pki.permitted_name, pki.subject_name):
        try:
            take(text)
        except pki.PkiError:
            continue


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]\.example", fullmatch=True), min_size=1, max_size=5)
)
def test_what_is_asked_for_is_what_is_made(hosts: list[str]) -> None:
    wanted = tuple(pki.alternative_name(host) for host in dict.fromkeys(hosts))
    request = pki.Request(pki.subject_name("somebody"), wanted, "server", timedelta(days=90))
    made = pki.issue(request, KEY, AUTHORITY, NOW)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pki.certificate_pem(made))
        file.flush()
        [facts] = certificate_facts(Path(file.name))
    assert facts.dns_names == tuple(dict.fromkeys(hosts))
    assert facts.problems == ()
