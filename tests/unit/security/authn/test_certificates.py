"""Client certificates: names as Java spells them, and everything that keeps one out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID as N
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authn.certificates import (
    CertificateAuthentication,
    distinguished_name,
    read_certificate,
)
from rivven.security.authn.external_names import ExternalNames
from rivven.security.authn.principal_rules import name_mapping
from rivven.security.authz.authorizer import Subject
from rivven.security.certificate import MalformedCertificate
from rivven.types import Principal
from tests.shipped.client_certificates import ClientAuthority, ClientFiles

NOW_MS = 0


def attributes(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


# What `X500Principal.getName()` of a JDK 17 printed for these subjects.
JAVA = [
    (
        x509.Name(
            [
                x509.RelativeDistinguishedName([x509.NameAttribute(N.COUNTRY_NAME, "DE")]),
                x509.RelativeDistinguishedName([x509.NameAttribute(N.ORGANIZATION_NAME, 'We, "Us" + Co')]),
                x509.RelativeDistinguishedName([x509.NameAttribute(N.EMAIL_ADDRESS, "duke@example.com")]),
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(N.COMMON_NAME, "Duke"), x509.NameAttribute(N.USER_ID, "d1")]
                ),
            ]
        ),
        r"CN=Duke+UID=d1,1.2.840.113549.1.9.1=#161064756b65406578616d706c652e636f6d,"
        r"O=We\, \"Us\" \+ Co,C=DE",
    ),
    (
        attributes(
            (N.DOMAIN_COMPONENT, "com"),
            (N.DOMAIN_COMPONENT, "example"),
            (N.STATE_OR_PROVINCE_NAME, "a=b;c<d>#e\\f"),
            (N.COMMON_NAME, " Zoë ü "),
        ),
        r"CN=\ Zoë ü\ ,ST=a\=b\;c\<d\>\#e\\f,DC=example,DC=com",
    ),
    (
        attributes(
            (N.SERIAL_NUMBER, "77"),
            (N.LOCALITY_NAME, "#x"),
            (N.STREET_ADDRESS, "Str. 1"),
            (N.ORGANIZATIONAL_UNIT_NAME, "日本"),
            (N.TITLE, "T"),
        ),
        r"2.5.4.12=#0c0154,OU=日本,STREET=Str. 1,L=\#x,2.5.4.5=#13023737",
    ),
]


@pytest.mark.parametrize(("name", "expected"), JAVA)
def test_names_as_java_spells_them(name: x509.Name, expected: str) -> None:
    assert distinguished_name(name) == expected


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def shop(authority: ClientAuthority) -> ClientFiles:
    return authority.issue("shop", dns=["Shop.example.com"], uris=["spiffe://example.com/shop"])


def test_what_is_read(shop: ClientFiles) -> None:
    found = read_certificate(shop.der)
    assert found.names.distinguished_name == "CN=shop,O=Shop"
    assert found.names.common_names == ("shop",)
    assert found.names.dns_names == ("Shop.example.com",)
    assert found.names.uris == ("spiffe://example.com/shop",)
    assert found.issuer == "CN=Rivven clients authority"
    assert (found.serial, found.fingerprint) == (shop.serial, shop.fingerprint)
    assert found.not_after_ms == int(shop.parsed.not_valid_after_utc.timestamp() * 1000)
    assert found.credential.serial == shop.serial
    assert found.credential.id == shop.fingerprint


@given(st.binary(max_size=400))
def test_foreign_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedCertificate):
        read_certificate(data)


class Local:
    """Local names of a test; what is revoked is a set of serial numbers."""

    def __init__(self, users: Iterable[str] = (), super_users: Iterable[str] = ()) -> None:
        self.users, self.super_users = set(users), set(super_users)
        self.revoked: set[str] = set()

    def is_user(self, name: str) -> bool:
        return name in self.users

    def is_super_user(self, name: str) -> bool:
        return name in self.super_users

    def is_group(self, name: str) -> bool:
        return name == "a-group"

    def reason(self, credential: Credential) -> str | None:
        return "revoked here" if credential.serial in self.revoked else None


def authentication(local: Local, kind: str = "common_name", prefix: str = "") -> CertificateAuthentication:
    return CertificateAuthentication(name_mapping(kind), prefix, ExternalNames(local), local.reason)


def reason(step: Authenticated | Rejected) -> str:
    assert isinstance(step, Rejected)
    return step.reason


def test_a_certificate_is_a_principal_until_its_end(shop: ClientFiles) -> None:
    end = read_certificate(shop.der).not_after_ms
    found = authentication(Local(), prefix="x509:").verify(shop.der, NOW_MS)
    assert isinstance(found, Authenticated)
    assert found.principal == Principal("User", "x509:shop")
    assert found.expires_at_ms == end
    assert found.credential.kind == "certificate"
    assert "has expired" in reason(authentication(Local()).verify(shop.der, end))


def test_names_that_are_ours_are_refused_and_a_prefix_makes_them_others(
    shop: ClientFiles, authority: ClientAuthority
) -> None:
    group = authority.issue("a-group")
    for local, files, word in (
        (Local(users=["shop"]), shop, "local user"),
        (Local(super_users=["shop"]), shop, "super user"),
        (Local(), group, "local group"),
        (Local(), authority.issue("ANONYMOUS"), "means something else"),
        (Local(), authority.issue("a\nb"), "means something else"),
    ):
        assert word in reason(authentication(local).verify(files.der, NOW_MS))
    assert isinstance(
        authentication(Local(users=["shop"]), prefix="x:").verify(shop.der, NOW_MS), Authenticated
    )


def test_what_names_nobody_and_what_is_no_certificate(shop: ClientFiles, authority: ClientAuthority) -> None:
    assert "exactly one" in reason(authentication(Local()).verify(authority.issue("a", "b").der, NOW_MS))
    assert "unreadable" in reason(authentication(Local()).verify(b"x", NOW_MS))
    assert "unreadable" in reason(authentication(Local()).verify(shop.der[:-1], NOW_MS))


def test_a_revoked_certificate_ends_what_lives_and_what_comes(shop: ClientFiles) -> None:
    local = Local()
    known = authentication(local)
    identity = known.verify(shop.der, NOW_MS)
    assert isinstance(identity, Authenticated)
    subject = Subject(identity.principal, "10.0.0.1", mechanism="MTLS")
    assert known.still_valid(subject, identity.credential) is None
    local.revoked.add(shop.serial)
    assert known.still_valid(subject, identity.credential) == "revoked here"
    assert reason(known.verify(shop.der, NOW_MS)) == "revoked here"
    assert isinstance(known.check(shop.der, NOW_MS), Rejected)


def test_a_name_that_becomes_a_local_users_ends_only_whoever_was_named_by_the_certificate(
    shop: ClientFiles,
) -> None:
    local = Local()
    known = authentication(local)
    identity = known.verify(shop.der, NOW_MS)
    assert isinstance(identity, Authenticated)
    local.users.add("shop")
    by_certificate = Subject(identity.principal, "10.0.0.1", mechanism="MTLS")
    by_password = Subject(identity.principal, "10.0.0.1", mechanism="SCRAM-SHA-256")
    assert "local user" in str(known.still_valid(by_certificate, identity.credential))
    assert known.still_valid(by_password, identity.credential) is None
    assert known.still_valid(by_password, Credential("password", "shop")) is None
