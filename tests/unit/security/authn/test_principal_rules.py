"""Names in certificates become principals as Kafka's rules say, or nobody gets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.principal_rules import (
    DN_CHARACTERS_MAX,
    CertificateNames,
    Mapped,
    PrincipalRules,
    RuleError,
    Unmapped,
    name_mapping,
)

DN = "CN=Duke,OU=ServiceUsers,O=Org,L=Unknown,ST=Unknown,C=Unknown"

# From KIP-371 and Kafka's SslPrincipalMapperTest: distinguished name, rules, result.
KAFKA = [
    ("CN=Duke,OU=ServiceUsers,O=Org,C=US", ["RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/L"], "duke"),
    (
        "CN=Duke,OU=SME,O=mycp,L=Fulton,ST=MD,C=US",
        ["RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L"],
        "duke@sme",
    ),
    ("cn=duke,ou=sme,dc=mycp,dc=com", ["RULE:^cn=(.*?),ou=(.*?),dc=(.*?),dc=(.*?)$/$1@$2/U"], "DUKE@SME"),
    ("OU=JavaSoft,O=Sun,C=US", ["RULE:^CN=(.*?),.*$/$1/", "DEFAULT"], "OU=JavaSoft,O=Sun,C=US"),
    ("CN=JDuke,OU=JavaSoft", ["RULE:^CN=([^,ADEFLTU,]+)(,.*|$)/$1/"], None),
    ("CN=duke", ["RULE:.*/no digits $9 here/"], "no digits $9 here" * 2),
    ("CN=duke", ["RULE:^CN=(.*)$/\\$1\\/x/"], "$1/x"),
    ("CN=ab", ["RULE:^CN=(a)(b)$/$2$1$12/"], "baa2"),
]


@pytest.mark.parametrize(("name", "rules", "expected"), KAFKA)
def test_rules_as_kafka_reads_them(name: str, rules: list[str], expected: str | None) -> None:
    found = PrincipalRules(rules).apply(name)
    assert (found.name if isinstance(found, Mapped) else None) == expected


def test_the_first_rule_that_matches_wins_and_is_named() -> None:
    rules = PrincipalRules(["RULE:^CN=x$/x/", "RULE:^CN=(Duke),.*$/$1/U", "DEFAULT"])
    assert rules.apply(DN) == Mapped("DUKE", "RULE:^CN=(Duke),.*$/$1/U")
    assert rules.apply("O=Org") == Mapped("O=Org", "DEFAULT")


def test_the_mistake_of_a_shell_is_seen_in_the_name_it_gives() -> None:
    """confluent-kubernetes-examples#133: in YAML ``\\s`` had lost its backslash."""
    assert PrincipalRules(["RULE:^CN[s]?=(s?)(.*)$/$2/"]).apply("CN=sr") == Mapped(
        "r", "RULE:^CN[s]?=(s?)(.*)$/$2/"
    )


@pytest.mark.parametrize(
    "rule", ["RULE:(/x/", "RULE:a/b", "rule:a/b/", "RULE:a/b/X", "", "default", "RULE:" + "a" * 2000 + "/b/"]
)
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(RuleError):
        PrincipalRules([rule])


def test_how_many_and_how_long() -> None:
    with pytest.raises(RuleError, match="1 to 64"):
        PrincipalRules([])
    with pytest.raises(RuleError, match="1 to 64"):
        PrincipalRules(["DEFAULT"] * 65)
    assert isinstance(PrincipalRules(["DEFAULT"]).apply("x" * (DN_CHARACTERS_MAX + 1)), Unmapped)
    assert isinstance(PrincipalRules(["RULE:.*//"]).apply("CN=x"), Unmapped), "nobody is called nothing"


NAMES = CertificateNames(DN, ("Duke",), ("Duke.Example.com",), ("spiffe://example.com/duke",))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("distinguished_name", DN),
        ("common_name", "Duke"),
        ("san_dns", "duke.example.com"),
        ("san_uri", "spiffe://example.com/duke"),
    ],
)
def test_the_other_mappings_say_where_the_name_stood(kind: str, name: str) -> None:
    assert name_mapping(kind)(NAMES) == Mapped(name, kind)


@pytest.mark.parametrize("kind", ["common_name", "san_dns", "san_uri"])
@pytest.mark.parametrize("names", [(), ("a", "b"), ("",)])
def test_one_name_and_no_other(kind: str, names: tuple[str, ...]) -> None:
    assert isinstance(name_mapping(kind)(CertificateNames(DN, names, names, names)), Unmapped)


def test_no_subject_is_nobody() -> None:
    assert isinstance(name_mapping("distinguished_name")(CertificateNames("")), Unmapped)


@given(st.text(max_size=200))
def test_no_name_makes_a_rule_fail(name: str) -> None:
    rules = PrincipalRules([r"RULE:^CN=([^,\\]*)(\\.|,.*)?$/$1$2$3\\/L", "RULE:(.*)/<$1>/U"])
    assert isinstance(rules.apply(name), Mapped | Unmapped)
