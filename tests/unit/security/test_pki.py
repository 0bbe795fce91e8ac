"""What is made here is taken by verifiers that are strict, and by nobody for more than it is for."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from rivven.security import pki
from rivven.security.tls_inspection import certificate_facts
from rivven_cli.tls_authority import KEY_KINDS, PROFILES, REASONS

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
PASSPHRASE = "Canary-77-open-sesame"


def authority(kind: str = "ecdsa-p256", permitted: tuple[str, ...] = ()) -> pki.Authority:
    key = pki.make_key(kind)
    names = [pki.permitted_name(text) for text in permitted]
    made = pki.make_authority(pki.subject_name("Example CA"), key, NOW, 3650 * DAY, names)
    return pki.Authority((made,), key)


CA = authority()


def leaf(
    profile: str = "server",
    *names: str,
    signer: pki.Authority = CA,
    lifetime: timedelta = 90 * DAY,
    kind: str = "ecdsa-p256",
) -> tuple[x509.Certificate, pki.PrivateKey]:
    key = pki.make_key(kind)
    wanted = tuple(pki.alternative_name(text) for text in names)
    request = pki.Request(pki.subject_name("somebody"), wanted, profile, lifetime)
    return pki.issue(request, key, signer, NOW), key


def handshake(directory: Path, server: str, client: str) -> tuple[str, str] | None:
    """TLS in memory with certificates of these profiles on both sides, both strict; None when refused."""
    trusted = directory / "ca.crt"
    trusted.write_bytes(pki.certificate_pem(CA.certificate))
    contexts = []
    for purpose, profile in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        certificate, key = leaf(profile, "localhost", "::1")
        pair = directory / f"{purpose.name}.pem"
        pair.write_bytes(pki.certificate_pem(certificate) + pki.key_pem(key))
        context = ssl.SSLContext(purpose)
        context.load_cert_chain(pair)
        context.load_verify_locations(trusted)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 tells the client later than it ends here
        contexts.append(context)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        contexts[0].wrap_bio(there, back, server_side=True),
        contexts[1].wrap_bio(back, there, server_hostname="localhost"),
    )
    done: set[ssl.SSLObject] = set()
    for _ in range(8):
        for side in sides:
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return None
    assert len(done) == 2
    return sides[0].version() or "", sides[1].version() or ""


@pytest.mark.parametrize("client", PROFILES)
@pytest.mark.parametrize("server", PROFILES)
def test_strict_peers_take_a_certificate_for_what_it_is_for(server: str, client: str, tmp_path: Path) -> None:
    fits = server in ("server", "node") and client in ("client", "node")
    assert (handshake(tmp_path, server, client) is not None) is fits


@pytest.mark.parametrize("kind", pki.KEY_KINDS)
def test_every_kind_of_key(kind: str, tmp_path: Path) -> None:
    """A second verifier, which reads RFC 5280 and the CA/Browser Forum's rules as browsers do."""
    signer = authority(kind)
    certificate, _ = leaf("server", "broker.example", signer=signer, kind=kind)
    verifier = PolicyBuilder().store(Store([signer.certificate])).time(NOW)
    verifier.build_server_verifier(x509.DNSName("broker.example")).verify(certificate, [])
    with pytest.raises(VerificationError):
        verifier.build_server_verifier(x509.DNSName("other.example")).verify(certificate, [])
    file = tmp_path / "chain.pem"
    file.write_bytes(pki.certificate_pem(certificate, signer.certificate))
    facts = certificate_facts(file)
    family, _, size = kind.partition("-")
    assert facts[0].key == facts[1].key == f"{family.upper()} {size.replace('p', 'P-')}"
    assert facts[0].version == facts[1].version == 3
    assert [one.problems for one in facts] == [(), ()]
    assert facts[0].authority_key_id == facts[1].subject_key_id == pki.key_id(signer.key)


def test_the_words_of_the_command_are_those_of_this_module() -> None:
    assert KEY_KINDS == pki.KEY_KINDS
    assert set(PROFILES) == set(pki.PROFILES)
    assert all(hasattr(x509.ReasonFlags, name) for name in REASONS.values())


def test_an_authority_signs_certificates_and_lists_and_nothing_else() -> None:
    extensions = CA.certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical and basic.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.critical and usage.value.key_cert_sign and usage.value.crl_sign
    assert not usage.value.digital_signature
    assert CA.intermediates == ()


def test_name_constraints_hold() -> None:
    narrow = authority(permitted=("dns:example.com", "ip:10.0.0.0/8"))
    verifier = PolicyBuilder().store(Store([narrow.certificate])).time(NOW)
    for name, fits in (("a.example.com", True), ("example.org", False)):
        certificate, _ = leaf("server", name, signer=narrow)
        wanted = verifier.build_server_verifier(x509.DNSName(name))
        if fits:
            wanted.verify(certificate, [])
        else:
            with pytest.raises(VerificationError):
                wanted.verify(certificate, [])


def test_an_intermediate_authority_is_brought_along() -> None:
    """One that somebody else signed, for example the company's."""
    key = pki.make_key()
    wide = x509.BasicConstraints(ca=True, path_length=0)
    middle = (
        x509.CertificateBuilder()
        .subject_name(pki.subject_name("middle"))
        .issuer_name(CA.certificate.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 200 * DAY)
        .add_extension(wide, critical=True)
        .sign(CA.key, hashes.SHA256())
    )
    found = pki.load_authority(pki.certificate_pem(middle, CA.certificate), pki.key_pem(key), None)
    assert found.intermediates == (middle,)
    certificate, _ = leaf("client", signer=found)
    certificate.verify_directly_issued_by(middle)
    assert pki.issued_by(found, certificate) and not pki.issued_by(CA, certificate)


@pytest.mark.parametrize(
    ("lifetime", "fits"),
    [
        (timedelta(hours=23), False),
        (timedelta(hours=24), True),
        (365 * DAY, True),
        (397 * DAY, True),
        (398 * DAY, False),
    ],
)
def test_lifetimes(lifetime: timedelta, fits: bool) -> None:
    if not fits:
        with pytest.raises(pki.PkiError, match="397 days"):
            leaf("client", lifetime=lifetime)
        return
    certificate, _ = leaf("client", lifetime=lifetime)
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime <= whole <= 397 * DAY


def test_nothing_outlives_its_authority() -> None:
    key = pki.make_key()
    short = pki.make_authority(pki.subject_name("short"), key, NOW, 30 * DAY)
    with pytest.raises(pki.PkiError, match="ends in 30 days: renew"):
        leaf("client", signer=pki.Authority((short,), key), lifetime=31 * DAY)
    with pytest.raises(pki.PkiError, match="7300"):
        pki.make_authority(pki.subject_name("long"), key, NOW, 7301 * DAY)


def test_a_server_needs_a_name_that_clients_look_for() -> None:
    for names in ((), ("uri:spiffe://example/broker",)):
        with pytest.raises(pki.PkiError, match="host name or address"):
            leaf("node", *names)
    with pytest.raises(pki.PkiError, match="more than 100"):
        leaf("server", *(f"h{number}.example" for number in range(101)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dns:Broker-1.Example", x509.DNSName("broker-1.example")),
        ("*.example.com", x509.DNSName("*.example.com")),
        ("localhost", x509.DNSName("localhost")),
        ("ip:10.0.0.1", x509.IPAddress(pki.ipaddress.ip_address("10.0.0.1"))),
        ("::1", x509.IPAddress(pki.ipaddress.ip_address("::1"))),
        ("spiffe://example/a", x509.UniformResourceIdentifier("spiffe://example/a")),
        ("uri:urn:x", x509.UniformResourceIdentifier("urn:x")),
    ],
)
def test_names(text: str, name: x509.GeneralName) -> None:
    assert pki.alternative_name(text) == name


@pytest.mark.parametrize(
    "text", ["", "dns:", "dns:a..b", "dns:-a", "dns:bücher.example", "ip:10.0.0", "uri:spiffe", "a b", "a*.b"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(pki.PkiError):
        pki.alternative_name(text)


@pytest.mark.parametrize("text", ["example.com", "ip:10.0.0.1/8", "dns:*.example.com", "uri:x"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(pki.PkiError):
        pki.permitted_name(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "0" + "\U0001d400" * 16, "a\nb"])
def test_subjects_are_bounded(text: str) -> None:
    with pytest.raises(pki.PkiError, match="64 printable"):
        pki.subject_name(text)


def test_a_passphrase_protects_the_key_and_is_never_told() -> None:
    certificates = pki.certificate_pem(CA.certificate)
    plain, sealed = pki.key_pem(CA.key), pki.key_pem(CA.key, PASSPHRASE)
    assert pki.is_encrypted(sealed) and not pki.is_encrypted(plain)
    assert pki.load_authority(certificates, sealed, PASSPHRASE).certificate == CA.certificate
    for key, passphrase, problem in (
        (sealed, None, "needs a passphrase"),
        (plain, PASSPHRASE, "has no passphrase"),
        (sealed, PASSPHRASE + "x", "does not open it"),
        (plain[:90], None, "damaged"),
    ):
        with pytest.raises(pki.PkiError, match=problem) as caught:
            pki.load_authority(certificates, key, passphrase)
        assert PASSPHRASE not in str(caught.value)


def test_who_cannot_sign_is_refused() -> None:
    other = pki.make_key()
    with pytest.raises(pki.PkiError, match="not the key"):
        pki.load_authority(pki.certificate_pem(CA.certificate), pki.key_pem(other), None)
    certificate, key = leaf("server", "localhost")
    with pytest.raises(pki.PkiError, match="not one of an authority"):
        pki.load_authority(pki.certificate_pem(certificate), pki.key_pem(key), None)
    with pytest.raises(pki.PkiError, match="damaged or not PEM"):
        pki.load_authority(b"nothing", pki.key_pem(other), None)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    odd = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(pki.PkiError, match="neither ECDSA nor RSA"):
        pki.load_authority(pki.certificate_pem(CA.certificate), odd, None)


def test_a_list_is_signed_numbered_and_ends() -> None:
    certificate, _ = leaf("client")
    entry = pki.revoked_entry(certificate, x509.ReasonFlags.key_compromise, NOW)
    made = pki.revocation_list(CA, [entry], 7, NOW, 30 * DAY)
    assert made.is_signature_valid(CA.key.public_key())
    assert made.next_update_utc == NOW + 30 * DAY
    assert made.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert made.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert made.get_revoked_certificate_by_serial_number(1) is None
    without = pki.revoked_entry(certificate, None, NOW)
    assert not list(without.extensions), "unspecified is left out"
    with pytest.raises(pki.PkiError, match="397"):
        pki.revocation_list(CA, [], 1, NOW, 398 * DAY)
