"""Chains are judged by what is in force now: authorities, dates, lists; and judged anew when that changes."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rivven.security import tls_trust
from rivven.security.crls import parse_crls
from rivven.security.tls_trust import ClientTrust, Distrusted, PeerChain, Trusted
from tests.shipped.authority import DAY_S, Authority, Extension, Issued, rsa_key
from tests.shipped.pki import key_usage


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_ms(self) -> int:
        return int((time.time() + self.ahead_s) * 1000)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def trust(*anchors: Authority | Issued, crl: bytes = b"", reject_expired: bool = True) -> ClientTrust:
    lists = parse_crls(crl, Clock().now_ms())
    return ClientTrust([one.der for one in anchors], lists, reject_expired=reject_expired)


def reason(by: ClientTrust, shown: Issued, ahead_s: float = 0, before: tuple[bytes, ...] = ()) -> str | None:
    clock = Clock()
    clock.ahead_s = ahead_s
    found = by.judge(shown.ders, clock.now_ms(), before)
    return found.reason if isinstance(found, Distrusted) else None


def usage(**allowed: bool) -> Extension:
    return key_usage(**allowed), True


class TestPaths:
    def test_a_root_an_intermediate_and_a_pinned_certificate_are_anchors(self) -> None:
        root = Authority()
        middle = Authority("middle", root)
        leaf = middle.issue("alice")
        assert reason(trust(root), leaf) is None
        assert reason(trust(middle), leaf) is None
        assert reason(trust(leaf), leaf) is None
        assert reason(trust(root), Authority(key=rsa_key()).issue()) is not None

    def test_another_authority_of_the_same_name(self) -> None:
        assert reason(trust(Authority()), Authority().issue()) == "no authority of ca_path issued it"

    def test_the_intermediates_must_have_been_shown(self) -> None:
        root = Authority()
        leaf = Authority("middle", root).issue()
        assert reason(trust(root), Issued(leaf.certificate, leaf.key)) == "no authority of ca_path issued it"

    def test_the_second_way_counts_when_the_first_has_ended(self) -> None:
        """An authority renewed with its old key."""
        old = Authority(seconds=DAY_S)
        new = Authority(key=old.key)
        leaf = old.issue()
        assert reason(trust(old), leaf, 2 * DAY_S) == "CN=root has expired"
        assert reason(trust(old, new), leaf, 2 * DAY_S) is None
        assert reason(trust(old), leaf, -2 * DAY_S) is not None

    def test_crossed_authorities_come_to_an_end(self) -> None:
        one, two = Authority("one"), Authority("two")
        one_by_two = Authority("one", two, key=one.key)
        two_by_one = Authority("two", one, key=two.key)
        leaf = one.issue()
        shown = Issued(leaf.certificate, leaf.key, (one_by_two.certificate, two_by_one.certificate))
        assert reason(trust(Authority("three")), shown) == "no authority of ca_path issued it"
        assert reason(trust(two), shown) is None

    def test_signatures_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        root = Authority()
        leaf = root.issue()
        monkeypatch.setattr(tls_trust, "SIGNATURES_MAX", 3)
        decoys = [Authority() for _ in range(3)]
        assert reason(trust(*decoys, root), leaf) == "no authority of ca_path issued it"
        assert reason(trust(*decoys[:2], root), leaf) is None

    def test_unreadable_bytes(self) -> None:
        found = trust(Authority()).judge([b"nonsense"], 0)
        assert isinstance(found, Distrusted)
        assert "unreadable" in found.reason
        with pytest.raises(ValueError, match="parsing"):
            ClientTrust([b"nonsense"])


class TestAuthorities:
    def test_a_leaf_may_issue_nothing(self) -> None:
        root = Authority()
        leaf = Authority("leaf", root, ca=False)
        assert reason(trust(root), leaf.issue("evil")) == "CN=leaf is no authority"

    def test_length_of_the_path(self) -> None:
        root = Authority(path_length=0)
        assert reason(trust(root), root.issue()) is None
        below = Authority("middle", root).issue()
        assert reason(trust(root), below) == "CN=root may not have further authorities below it"

    @pytest.mark.parametrize(
        ("extension", "problem"),
        [
            (usage(digital_signature=True), "may not issue certificates"),
            (usage(key_cert_sign=True), None),
            (
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
                "may not issue certificates of clients",
            ),
            ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False), None),
            (
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
                "has a critical extension that is not understood",
            ),
        ],
    )
    def test_what_an_intermediate_may(self, extension: Extension, problem: str | None) -> None:
        root = Authority()
        leaf = Authority("middle", root, extensions=[extension]).issue()
        assert reason(trust(root), leaf) == (problem and f"CN=middle {problem}")

    def test_narrowed_names_are_for_openssl_so_another_path_is_not_taken(self) -> None:
        old, new = Authority("old"), Authority("new")
        key = Authority("middle").key
        narrow = x509.NameConstraints([x509.DNSName("example.com")], excluded_subtrees=None)
        by_old = Authority("middle", old, key=key)
        by_new = Authority("middle", new, key=key, extensions=[(narrow, True)])
        leaf = by_old.issue()
        shown = Issued(leaf.certificate, leaf.key, (by_old.certificate, by_new.certificate))
        found = trust(old).judge(shown.ders, Clock().now_ms())
        assert isinstance(found, Trusted)
        assert "narrows names" in (reason(trust(new), shown, before=found.path) or "")
        assert reason(trust(new), shown) is None, "just verified by OpenSSL, by this path"


class TestLists:
    def test_who_is_revoked(self) -> None:
        root = Authority()
        alice, bob = root.issue("alice"), root.issue("bob")
        by = trust(root, crl=root.crl(alice))
        assert reason(by, alice) == "CN=alice is revoked by CN=root"
        assert reason(by, bob) is None

    def test_an_authority_without_a_list_is_not_checked(self) -> None:
        root, other = Authority(), Authority("other")
        leaf = other.issue()
        assert reason(trust(root, other, crl=root.crl(leaf)), leaf) is None

    def test_a_revoked_intermediate_even_if_it_is_an_anchor_itself(self) -> None:
        root = Authority()
        middle = Authority("middle", root)
        leaf = middle.issue()
        for anchors in ((root,), (root, middle)):
            assert reason(trust(*anchors, crl=root.crl(middle)), leaf) == "CN=middle is revoked by CN=root"

    def test_a_list_of_an_intermediate(self) -> None:
        root = Authority()
        middle = Authority("middle", root)
        leaf = middle.issue("alice")
        assert reason(trust(root, crl=middle.crl(leaf)), leaf) == "CN=alice is revoked by CN=middle"

    def test_an_expired_list_rejects_or_is_used_all_the_same(self) -> None:
        root = Authority()
        alice, bob = root.issue("alice"), root.issue("bob")
        crl = root.crl(alice, begin=-20.0, seconds=-10.0)
        assert reason(trust(root, crl=crl), bob) == "the revocation list of CN=root has expired"
        lax = trust(root, crl=crl, reject_expired=False)
        assert reason(lax, bob) is None
        assert reason(lax, alice) == "CN=alice is revoked by CN=root"
        assert [one.issuer for one in lax.expired(Clock().now_ms())] == ["CN=root"]
        assert lax.next_expiry_ms(Clock().now_ms()) is None

    def test_of_two_lists_of_one_authority_the_newer_counts(self) -> None:
        root = Authority()
        alice = root.issue("alice")
        old, new = root.crl(begin=-600), root.crl(alice, begin=-60)
        assert reason(trust(root, crl=old + new), alice) is not None
        assert reason(trust(root, crl=new + old), alice) is not None


class TestPeers:
    def test_judged_again_when_something_else_is_in_force(self) -> None:
        old, new = Authority("old"), Authority("new")
        leaf = old.issue()
        in_force = [trust(old)]
        peer = PeerChain(leaf.ders, lambda: in_force[0], Clock().now_ms)
        assert peer.problem() is None
        in_force[0] = trust(old, new)
        assert peer.problem() is None
        in_force[0] = trust(new)
        assert peer.problem() == "no authority of ca_path issued it"
        in_force[0] = trust(old, crl=old.crl(leaf))
        assert "revoked" in (peer.problem() or "")

    def test_the_path_found_before_costs_no_signature_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        root = Authority()
        leaf = Authority("middle", root).issue()
        in_force = [trust(root)]
        peer = PeerChain(leaf.ders, lambda: in_force[0], Clock().now_ms)
        assert peer.problem() is None
        monkeypatch.setattr(tls_trust, "issued_by", lambda *_: pytest.fail("checked again"))
        in_force[0] = trust(root)
        assert peer.problem() is None

    @pytest.mark.parametrize("what", ["list", "authority"])
    def test_judged_again_when_time_has_passed(self, what: str) -> None:
        clock = Clock()
        root = Authority(seconds=DAY_S if what == "authority" else 9 * DAY_S)
        by = trust(root, crl=root.crl(seconds=DAY_S) if what == "list" else b"")
        peer = PeerChain(root.issue().ders, lambda: by, clock.now_ms)
        assert peer.problem() is None
        clock.ahead_s = DAY_S - 60
        assert peer.problem() is None
        clock.ahead_s = DAY_S + 60
        assert "has expired" in (peer.problem() or "")
