"""Which revocation lists are usable, and whose they are."""

from __future__ import annotations

import time

import pytest
from cryptography import x509

from rivven.security import crls
from rivven.security.crls import UnusableCrl, check_kept, check_newer, check_signatures, parse_crls
from tests.shipped.authority import DAY_S, Authority


def now_ms() -> int:
    return int(time.time() * 1000)


def refusal(pem: bytes) -> str:
    with pytest.raises(UnusableCrl) as refused:
        parse_crls(pem, now_ms())
    return str(refused.value)


def test_what_a_list_says() -> None:
    authority, other = Authority(), Authority("other")
    leaf = authority.issue()
    first, second = parse_crls(authority.crl(leaf) + other.crl(), now_ms())
    assert first.revoked == {leaf.certificate.serial_number}
    assert first.issuer == "CN=root"
    assert abs(first.next_update_ms - now_ms() - DAY_S * 1000) < 10_000
    assert not second.revoked
    assert first.is_of(authority.certificate)
    assert not first.is_of(other.certificate)


def test_partial_lists_are_refused() -> None:
    authority = Authority()
    delta = authority.crl(extensions=[(x509.DeltaCRLIndicator(1), True)])
    assert "is a delta" in refusal(delta)
    part = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    assert "covers only a part" in refusal(authority.crl(extensions=[(part, True)]))


def test_damaged_and_early_lists_are_refused() -> None:
    pem = Authority().crl()
    assert refusal(pem[:-30]) == "a list has no END line"
    assert "damaged" in refusal(pem[:60] + b"AAAA" + pem[64:])
    assert "begins at" in refusal(Authority().crl(begin=DAY_S, seconds=2 * DAY_S))


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    pem = authority.crl(authority.issue(), authority.issue())
    monkeypatch.setattr(crls, "ENTRIES_MAX", 3)
    assert "more than 3 revoked" in refusal(pem + pem)
    monkeypatch.setattr(crls, "LISTS_MAX", 1)
    assert "more than 1 lists" in refusal(Authority().crl() + Authority().crl())


def test_a_list_must_be_signed_by_the_authority_it_names() -> None:
    authority, successor = Authority(), Authority()
    crl = parse_crls(authority.crl(), now_ms())
    check_signatures(crl, [authority.certificate])
    check_signatures(crl, [Authority("other").certificate])
    check_signatures(crl, [successor.certificate])  # its key id says that it is not this one's
    forged = parse_crls(authority.crl(signed_by=successor.key), now_ms())
    with pytest.raises(UnusableCrl, match="not signed by it"):
        check_signatures(forged, [authority.certificate])


def test_an_older_list_does_not_replace_a_newer_one() -> None:
    authority = Authority()
    old, new = (parse_crls(authority.crl(begin=begin), now_ms()) for begin in (-600, -60))
    check_newer(new, old)
    check_newer(new, new)
    check_newer(old, parse_crls(Authority("other").crl(), now_ms()))
    with pytest.raises(UnusableCrl, match="older than the one in force"):
        check_newer(old, new)


def test_the_list_of_an_authority_that_is_still_trusted_may_not_vanish() -> None:
    kept, other = Authority("kept"), Authority("other")
    before = parse_crls(kept.crl() + other.crl(), now_ms())
    after = parse_crls(kept.crl(), now_ms())
    check_kept(after, before, [kept.certificate])
    check_kept(before, after, [kept.certificate, other.certificate])
    with pytest.raises(UnusableCrl, match="has no list of CN=other any more"):
        check_kept(after, before, [kept.certificate, other.certificate])
