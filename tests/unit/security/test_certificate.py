"""Validity periods read without a crypto library, compared with one; hostile bytes raise one error only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.certificate import CHAIN_MAX, MalformedCertificate, certificates_in, validity

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(start: datetime, end: datetime, name: str = "x") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )


def pem(one: x509.Certificate) -> str:
    return one.public_bytes(serialization.Encoding.PEM).decode()


DER = certificate(datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)).public_bytes(
    serialization.Encoding.DER
)


@given(
    st.datetimes(datetime(1951, 1, 1), datetime(2200, 1, 1)).map(
        lambda t: t.replace(microsecond=0, tzinfo=UTC)
    ),
    st.integers(1, 100_000),
    st.text(min_size=1, max_size=60, alphabet=st.characters(codec="ascii", categories=["L", "N"])),
)
def test_agrees_with_a_real_x509_library(start: datetime, hours: int, name: str) -> None:
    one = certificate(start, start + timedelta(hours=hours), name)
    der = certificates_in(pem(one))
    assert der == [one.public_bytes(serialization.Encoding.DER)]
    assert validity(der[0]) == (one.not_valid_before_utc, one.not_valid_after_utc)


def test_chains_in_order_with_text_between() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    chain = [certificate(start, start + timedelta(days=days)) for days in (1, 2, 3)]
    text = "leaf\n" + "comment\n".join(pem(one) for one in chain) + "end"
    assert [validity(der)[1] - start for der in certificates_in(text)] == [
        timedelta(days=d) for d in (1, 2, 3)
    ]
    assert certificates_in("nothing") == []
    assert len(certificates_in(pem(chain[0]) * (CHAIN_MAX + 5))) == CHAIN_MAX


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
    ],
)
def test_broken_pem(text: str) -> None:
    with pytest.raises(MalformedCertificate):
        certificates_in(text)


def test_every_prefix_is_malformed() -> None:
    # Only what stands before the validity is read, so later damage is the TLS library's to find.
    for length in range(len(DER)):
        with pytest.raises(MalformedCertificate):
            validity(DER[:length])


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    try:
        validity(data)
    except MalformedCertificate:
        return
    raise AssertionError("random bytes are no certificate")


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_damaged_bytes_raise_nothing_else(position: int, change: int) -> None:
    damaged = bytearray(DER)
    damaged[position] ^= change
    try:
        start, end = validity(bytes(damaged))
    except MalformedCertificate:
        return
    assert start.tzinfo is UTC
    assert end.tzinfo is UTC


@given(st.text(alphabet="-BEGINCERTFA \n=END", max_size=300))
def test_random_text(text: str) -> None:
    try:
        certificates_in("-----BEGIN CERTIFICATE-----" + text)
    except MalformedCertificate:
        return


def test_the_standard_library_agrees_on_pem() -> None:
    assert certificates_in(ssl.DER_cert_to_PEM_cert(DER)) == [DER]
