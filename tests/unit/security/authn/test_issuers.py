"""The trusted issuers: exact names, revisions, roles of groups, and who hears of changes."""

from __future__ import annotations

from dataclasses import replace

from rivven.security.authn.authenticator import NO_CREDENTIAL, Credential
from rivven.security.authn.issuers import Issuers, TrustedIssuer

ONE = TrustedIssuer("https://one.example", frozenset({"rivven"}))
TWO = TrustedIssuer(
    "https://two.example",
    frozenset({"rivven"}),
    group_prefix="two:",
    group_roles=(("/dev", "producer"), ("/ops", "admin")),
)


def issued_by(issuers: Issuers, issuer: TrustedIssuer) -> Credential:
    found = issuers.find(issuer.issuer)
    assert found is not None
    return Credential("jwt", issuer=issuer.issuer, version=found[1])


def test_an_issuer_is_found_by_its_exact_name() -> None:
    issuers = Issuers()
    issuers.replace([ONE, TWO])
    assert issuers.names() == [ONE.issuer, TWO.issuer]
    found = issuers.find("https://one.example")
    assert found is not None and found[0] is ONE
    for name in ("https://one.example/", "https://ONE.example", "https://one.exampl", ""):
        assert issuers.find(name) is None


def test_identities_end_with_their_issuer_and_with_its_settings() -> None:
    issuers = Issuers()
    issuers.replace([ONE, TWO])
    first, second = issued_by(issuers, ONE), issued_by(issuers, TWO)
    issuers.replace([TWO])
    assert issuers.problem_of(first) == "the issuer https://one.example is no longer trusted"
    assert issuers.problem_of(second) is None
    issuers.replace([ONE, replace(TWO, audiences=frozenset({"other"}))])
    assert issuers.problem_of(first) is not None  # that it came back does not bring back what has ended
    assert issuers.problem_of(second) == "the settings of the issuer https://two.example have changed"
    assert issuers.problem_of(issued_by(issuers, ONE)) is None


def test_other_credentials_do_not_depend_on_issuers() -> None:
    assert Issuers().problem_of(NO_CREDENTIAL) is None
    assert Issuers().problem_of(Credential("certificate", issuer="https://one.example")) is None


def test_changes_are_told_once_and_only_if_they_are_some() -> None:
    heard: list[int] = []
    issuers = Issuers()
    issuers.on_change.append(lambda: heard.append(issuers.version))
    issuers.replace([])
    issuers.replace([ONE])
    issuers.replace([replace(ONE)])
    issuers.replace([])
    assert heard == [1, 2]


def test_groups_have_the_roles_of_the_mapping() -> None:
    issuers = Issuers()
    assert issuers.group_roles() == []
    issuers.replace([ONE, TWO, replace(TWO, issuer="https://3.example", group_roles=(("/dev", "reader"),))])
    assert issuers.group_roles() == [
        ("two:/dev", "producer", "https://two.example"),
        ("two:/ops", "admin", "https://two.example"),
        ("two:/dev", "reader", "https://3.example"),
    ]
    issuers.replace([ONE])
    assert issuers.group_roles() == []
