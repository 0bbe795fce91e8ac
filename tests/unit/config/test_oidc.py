"""The section auth.oidc: what is accepted, what contradicts itself, which names could be mistaken."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.load import ConfigError, validate
from rivven.config.oidc import OidcIssuerConfig, issuers_problem, prefixes_problem, url_problem

LISTENER = {"name": "main", "bind": "127.0.0.1:9093", "protocol": "sasl_ssl", "sasl": ["OAUTHBEARER"]}
BASE: dict[str, Any] = {
    "listeners": [LISTENER],
    "server": {"tls": {"cert_path": "server.crt", "key_path": "server.key"}},
}
ISSUER = {"issuer": "https://a.example", "audiences": ["rivven"]}


def configured(issuer: dict[str, Any]) -> OidcIssuerConfig:
    config = validate(BASE | {"auth": {"oidc": {"issuers": [issuer]}}}, "test")
    return config.auth.oidc.issuers[0]


def issuer(name: str, **keys: Any) -> OidcIssuerConfig:
    return OidcIssuerConfig.model_validate({"issuer": name, "audiences": ["rivven"], **keys})


def test_the_defaults_are_the_strict_ones() -> None:
    one = configured(ISSUER)
    assert one.algorithms == ["RS256", "ES256"]
    assert one.principal_claim == "sub"
    assert one.document_url == "https://a.example/.well-known/openid-configuration"
    assert (one.prefix, one.own_group_prefix) == ("", "")
    assert configured(ISSUER | {"prefix": "a-"}).own_group_prefix == "a-"
    assert configured(ISSUER | {"prefix": "a-", "group_prefix": "g-"}).own_group_prefix == "g-"
    assert configured(ISSUER | {"jwks_url": "https://a.example/k"}).document_url == "https://a.example/k"
    assert configured(ISSUER | {"discovery_url": "https://a.example/d"}).document_url == "https://a.example/d"
    assert configured(ISSUER | {"issuer": "https://a.example/"}).document_url == (
        "https://a.example/.well-known/openid-configuration"
    )


@pytest.mark.parametrize(
    ("keys", "key", "reason"),
    [
        ({"audiences": []}, "audiences", "at least 1"),
        ({"algorithms": ["HS256"]}, "algorithms[0]", "RS256"),
        ({"algorithms": ["none"]}, "algorithms[0]", "RS256"),
        ({"algorithms": []}, "algorithms", "at least 1"),
        ({"clock_skew_secs": 301}, "clock_skew_secs", "300"),
        ({"jwks_refresh_secs": 1}, "jwks_refresh_secs", "10"),
        ({"token_types": ["id"]}, "token_types[0]", "JWT"),
        ({"issuer": "a.example"}, "issuer", "must be a URL"),
        ({"issuer": "ftp://a.example"}, "issuer", "must be a URL"),
        ({"issuer": "https://u:p@a.example"}, "issuer", "must not hold a user"),
        ({"issuer": "https://a.example/#x"}, "issuer", "must not hold"),
        ({"jwks_url": "https://a.example:99999/"}, "jwks_url", "ort"),
        ({"jwks_url": "https://a.example/ x"}, "jwks_url", "ASCII"),
        (
            {"jwks_url": "https://a.example/k", "discovery_url": "https://a.example/d"},
            "",
            "replaces discovery",
        ),
        ({"group_roles": {"dev": "producer"}}, "", "without groups_claim"),
        ({"audience": "x"}, "audience", "did you mean audiences?"),
    ],
)
def test_a_refusal_names_key_and_reason(keys: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(ISSUER | keys)
    [problem] = caught.value.problems
    assert problem.key == f"auth.oidc.issuers[0].{key}".rstrip(".")
    assert reason in problem.reason
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "insecure", "fine"),
    [
        ("https://a.example/k", False, True),
        ("http://a.example/k", False, False),
        ("http://a.example/k", True, False),
        ("http://localhost/k", True, True),
        ("http://127.0.0.1:8080/k", True, True),
        ("http://[::1]/k", True, True),
        ("http://127.0.0.1/k", False, False),
        ("file:///etc/passwd", True, False),
        ("//a.example", True, False),
    ],
)
def test_keys_come_over_https_only(url: str, insecure: bool, fine: bool) -> None:
    assert (url_problem(url, insecure) is None) == fine


def test_issuers_together() -> None:
    one, two = issuer("https://a.example", prefix="a-"), issuer("https://b.example", prefix="b-")
    assert issuers_problem([], False) is None
    assert issuers_problem([issuer("https://a.example")], False) is None
    assert issuers_problem([one, two], False) is None
    assert issuers_problem([one, one], False) == "issuers: an issuer is given twice"
    assert "needs a prefix" in str(issuers_problem([one, issuer("https://b.example")], False))
    assert "needs a prefix" in str(issuers_problem([issuer("https://b.example")], False, {"mtls": "m-"}))
    assert "mtls needs a prefix" in str(issuers_problem([one], False, {"mtls": ""}))
    assert issuers_problem([one], False, {"mtls": "m-"}) is None
    assert "must be https" in str(issuers_problem([issuer("http://a.example")], False))


def test_group_prefixes_together() -> None:
    """Groups have a namespace of their own; issuers without groups need none."""
    one = issuer("https://a.example", prefix="a-", groups_claim="groups", group_prefix="")
    two = issuer("https://b.example", prefix="b-", groups_claim="groups")
    assert "needs a group_prefix" in str(issuers_problem([one, two], False))
    assert issuers_problem([one, issuer("https://b.example", prefix="b-")], False) is None


@pytest.mark.parametrize(("first", "second"), [("a-", "a-"), ("a-", "a-b-"), ("a-b-", "a-")])
def test_prefixes_that_could_be_mistaken(first: str, second: str) -> None:
    assert "can be mistaken" in str(prefixes_problem({"one": first, "two": second}, "prefix"))
    assert prefixes_problem({"one": first}, "prefix") is None


@pytest.mark.parametrize("insecure", [False, True])
def test_oauthbearer_needs_tls_whatever_else_is_allowed(insecure: bool) -> None:
    listener = LISTENER | {"protocol": "sasl_plaintext", "sasl": ["oauthbearer"]}
    with pytest.raises(ConfigError, match=r"listeners\[0\].sasl: OAUTHBEARER sends the token itself"):
        validate(BASE | {"listeners": [listener], "insecure": insecure}, "test")


TLS = {"cert_path": "server.crt", "key_path": "server.key"}
ASKING = TLS | {"ca_path": "ca.crt", "client_auth": "required"}
BY_CERTIFICATE = LISTENER | {
    "name": "ssl",
    "bind": "127.0.0.1:9094",
    "protocol": "ssl",
    "tls": ASKING,
    "sasl": [],
}


@pytest.mark.parametrize(
    "asking",
    [
        {"listeners": [LISTENER, BY_CERTIFICATE]},
        {"admin": {"tls": ASKING}},
        {"admin": {}, "server": {"tls": ASKING}},
    ],
)
def test_certificates_that_name_users_are_another_source(asking: dict[str, Any]) -> None:
    def given(issuer_prefix: str, prefix: str) -> dict[str, Any]:
        oidc = {"issuers": [ISSUER | {"prefix": issuer_prefix}]}
        return BASE | {"auth": {"oidc": oidc, "mtls_mapping": {"prefix": prefix}}} | asking

    for issuer_prefix, prefix in (("", ""), ("a-", ""), ("", "x-"), ("a-", "a-x-")):
        with pytest.raises(ConfigError, match=r"auth\.oidc\.issuers: "):
            validate(given(issuer_prefix, prefix), "test")
    assert validate(given("a-", "x-"), "test").other_name_sources == {"auth.mtls_mapping": "x-"}


def test_certificates_that_name_nobody_are_none() -> None:
    """Under SASL, without an Admin API, or with one that is off."""
    config = BASE | {"server": {"tls": ASKING}, "auth": {"oidc": {"issuers": [ISSUER]}}}
    for admin in (None, {"enabled": False}, {"tls": TLS}):
        assert validate(config | {"admin": admin}, "test").other_name_sources == {}


def test_issuers_whose_tokens_nobody_could_show_are_a_mistake() -> None:
    scram = {"listeners": [LISTENER | {"sasl": ["SCRAM-SHA-256"]}]}
    for oidc in ({"issuers": [ISSUER]}, {"issuers_file": "issuers.yaml"}):
        config = BASE | scram | {"auth": {"oidc": oidc}}
        with pytest.raises(ConfigError, match=r"auth\.oidc: has no effect"):
            validate(config, "test")
        validate(config | {"admin": {}}, "test")
        with pytest.raises(ConfigError, match=r"auth\.oidc: has no effect"):
            validate(
                config
                | {"admin": {}, "insecure": True, "server": {}}
                | {"listeners": [LISTENER | {"sasl": ["SCRAM-SHA-256"], "protocol": "sasl_plaintext"}]},
                "test",
            )


@pytest.mark.parametrize("auth", [{"mtls": {"denied": ["serial:1"]}}, {"mtls_mapping": {"type": "san_uri"}}])
def test_settings_for_certificates_nobody_asks_for_are_a_mistake(auth: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"auth\.{next(iter(auth))}: has no effect"):
        validate(BASE | {"auth": auth}, "test")
    validate(BASE | {"auth": auth, "server": {"tls": ASKING}}, "test")
