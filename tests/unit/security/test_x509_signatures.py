"""Issuers are found by name and signature, as OpenSSL finds them."""

from cryptography import x509
from cryptography.x509.oid import NameOID

from rivven.security.x509_signatures import comparable, issued_by, list_issued_by
from tests.shipped.authority import Authority, rsa_key


def named(*values: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value) for value in values])


def test_letters_and_spaces_of_names_do_not_matter_but_order_does() -> None:
    assert comparable(named("Our  CA")) == comparable(named("our ca"))
    assert comparable(named("a", "b")) != comparable(named("b", "a"))
    assert comparable(named("a")) != comparable(named("b"))


def test_both_kinds_of_keys_and_nobody_else_of_the_name() -> None:
    for authority in (Authority(), Authority(key=rsa_key())):
        leaf = authority.issue().certificate
        assert issued_by(leaf, authority.certificate)
        assert issued_by(authority.certificate, authority.certificate)
        assert not issued_by(leaf, Authority().certificate), "the same name, another key"
        assert not issued_by(leaf, Authority(key=rsa_key()).certificate), "a key of another kind"
        assert not issued_by(leaf, Authority("other", key=authority.key).certificate), "another name"


def test_lists() -> None:
    authority = Authority()
    crl = x509.load_pem_x509_crl(authority.crl())
    assert list_issued_by(crl, authority.certificate)
    assert not list_issued_by(crl, Authority().certificate)
    assert not list_issued_by(crl, Authority("other", key=authority.key).certificate)
    assert not list_issued_by(crl, Authority(key=rsa_key()).certificate)
