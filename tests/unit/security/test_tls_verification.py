"""Configurations with one thing wrong: the finding names key, file and reason; and right ones, which pass."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rivven.config.models import Config
from rivven.security import pki
from rivven.security.tls_inspection import CertificateFileError, certificate_facts
from rivven.security.tls_verification import OK, PROBLEM, WARNING, Finding, covers, verify_config

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SOON = 30 * DAY


class Workshop:
    """An authority and what it issues, as files of a directory."""

    def __init__(self, directory: Path, name: str = "Example CA") -> None:
        self.directory = directory
        key = pki.make_key()
        made = pki.make_authority(pki.subject_name(name), key, NOW - 200 * DAY, 3650 * DAY)
        self.authority = pki.Authority((made,), key)
        self.ca = self.write(f"{name.partition(' ')[0]}-ca.crt", pki.certificate_pem(made))

    def write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path

    def pair(
        self, *names: str, profile: str = "server", ago: int = 0, live: int = 90, kind: str = "ecdsa-p256"
    ) -> dict[str, str]:
        """A certificate made `ago` days ago for `live` days, as a section of the configuration."""
        key, stem = pki.make_key(kind), f"leaf-{len(list(self.directory.iterdir()))}"
        wanted = tuple(pki.alternative_name(text) for text in names)
        request = pki.Request(pki.subject_name("somebody"), wanted, profile, live * DAY)
        certificate = pki.issue(request, key, self.authority, NOW - ago * DAY)
        return {
            "cert_path": str(self.write(f"{stem}.crt", pki.certificate_pem(certificate))),
            "key_path": str(self.write(f"{stem}.key", pki.key_pem(key))),
        }

    def crl(self, *, ago: int = 0, live: int = 10) -> Path:
        from cryptography.hazmat.primitives.serialization import Encoding

        made = pki.revocation_list(self.authority, [], 1, NOW - ago * DAY, live * DAY)
        return self.write(f"list-{ago}-{live}.crl", made.public_bytes(Encoding.PEM))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def config(
    tls: Mapping[str, Any] | None, *listeners: Mapping[str, Any], **sections: Mapping[str, Any]
) -> Config:
    main = {"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_ssl"}
    return Config.model_validate(
        {"listeners": [*(listeners or [main])], "server": {"tls": tls} if tls else {}, **sections}
    )


def judged(of: Config, trust: Path | None = None) -> list[Finding]:
    return verify_config(of, NOW, SOON, trust)


def bad(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.key, one.verdict, one.text) for one in found if one.verdict != OK]


def only(found: list[Finding], verdict: str, key: str, text: str) -> None:
    """Exactly one finding that is not OK, and it says this."""
    [(named, judgement, reason)] = bad(found)
    assert (named, judgement) == (key, verdict), reason
    assert text in reason


def test_a_sound_configuration(shop: Workshop) -> None:
    found = judged(config(shop.pair("127.0.0.1", "localhost")), shop.ca)
    assert bad(found) == []
    assert [one.text.partition(" to ")[0] for one in found] == [
        "counts",
        f"a client that trusts {shop.ca} connects",
    ]


def test_names_are_those_clients_are_told(shop: Workshop) -> None:
    everywhere = {
        "name": "outside",
        "bind": "0.0.0.0:9093",
        "advertised": "broker-2.example:9093",
        "protocol": "ssl",
    }
    found = judged(config(shop.pair("broker-1.example"), everywhere, insecure=True))
    only(found, PROBLEM, "server.tls.cert_path", "connect to broker-2.example, which its names do not cover")
    assert bad(judged(config(shop.pair("*.example"), everywhere, insecure=True))) == []
    assert bad(judged(config(shop.pair("BROKER-2.example"), everywhere, insecure=True))) == []


def test_each_listener_is_judged_by_its_own_section(shop: Workshop) -> None:
    own = {
        "name": "own",
        "bind": "127.0.0.1:9093",
        "protocol": "sasl_ssl",
        "tls": shop.pair("localhost"),
    }
    other = {"name": "shared", "bind": "127.0.0.1:9094", "protocol": "sasl_ssl"}
    found = judged(config(shop.pair("127.0.0.1"), other, own))
    only(found, PROBLEM, "listeners.own.tls.cert_path", "127.0.0.1, which its names do not cover: localhost")


def test_a_section_nobody_uses_is_not_judged(shop: Workshop) -> None:
    open_one = {"name": "open", "bind": "127.0.0.1:9092", "protocol": "plaintext"}
    assert judged(config(shop.pair("elsewhere"), open_one, insecure=True)) == []


def test_the_admin_api_must_be_reachable_by_some_name(shop: Workshop) -> None:
    tls, admin = shop.pair("127.0.0.1"), {"bind": "127.0.0.1:9094", "tls": shop.pair("elsewhere.example")}
    only(judged(config(tls, admin=admin)), WARNING, "admin.tls.cert_path", "callers of the Admin API")
    assert bad(judged(config(tls, admin={"bind": "127.0.0.1:9094"}))) == []
    assert bad(judged(config(tls, admin=admin | {"enabled": False}))) == []
    named = admin | {"names": ["elsewhere.example"]}
    assert bad(judged(config(tls, admin=named))) == []


@pytest.mark.parametrize(
    ("ago", "live", "verdict", "text"),
    [
        (0, 90, OK, ""),
        (70, 90, WARNING, "counts to"),
        (91, 90, PROBLEM, "certificate 1 ended at"),
        (-2, 90, PROBLEM, "certificate 1 begins at"),
    ],
)
def test_dates(ago: int, live: int, verdict: str, text: str, shop: Workshop) -> None:
    found = judged(config(shop.pair("127.0.0.1", ago=ago, live=live)))
    if verdict == OK:
        assert bad(found) == []
    else:
        only(found, verdict, "server.tls.cert_path", text)


def test_a_pair_that_is_none(shop: Workshop) -> None:
    tls = shop.pair("127.0.0.1") | {"key_path": shop.pair("127.0.0.1")["key_path"]}
    only(judged(config(tls)), PROBLEM, "server.tls.key_path", "is not the key of the certificate")
    missing = shop.pair("127.0.0.1") | {"cert_path": str(shop.directory / "none.crt")}
    only(judged(config(missing)), PROBLEM, "server.tls.cert_path", "No such file")
    half = Path(missing["key_path"])
    half.write_bytes(half.read_bytes()[:60])
    whole = shop.pair("127.0.0.1") | {"key_path": str(half)}
    only(judged(config(whole)), PROBLEM, "server.tls.key_path", "damaged private key")


def test_a_chain_whose_second_certificate_issued_nothing(shop: Workshop, tmp_path: Path) -> None:
    tls, stranger = shop.pair("127.0.0.1"), Workshop(tmp_path, "Stranger")
    path = Path(tls["cert_path"])
    path.write_bytes(path.read_bytes() + stranger.ca.read_bytes())
    only(judged(config(tls)), PROBLEM, "server.tls.cert_path", "certificate 2 issued none of the others")


def test_a_purpose_that_is_not_a_servers(shop: Workshop) -> None:
    found = judged(config(shop.pair("127.0.0.1", profile="client")))
    only(found, PROBLEM, "server.tls.cert_path", "serverAuth")
    assert bad(judged(config(shop.pair("127.0.0.1", profile="node")))) == []


def test_a_client_of_another_authority_refuses(shop: Workshop, tmp_path: Path) -> None:
    stranger = Workshop(tmp_path, "Stranger")
    found = judged(config(shop.pair("127.0.0.1")), stranger.ca)
    only(found, PROBLEM, "server.tls.cert_path", "127.0.0.1: a client refuses it: unable to get local issuer")
    with pytest.raises(CertificateFileError, match=r"none.pem: No such file"):
        judged(config(shop.pair("127.0.0.1")), tmp_path / "none.pem")
    with pytest.raises(CertificateFileError, match="no PEM certificates"):
        judged(config(shop.pair("127.0.0.1")), Path(shop.pair("localhost")["key_path"]))


def test_certificates_for_other_kinds_of_keys_and_host_names(shop: Workshop) -> None:
    outside = {
        "name": "outside",
        "bind": "0.0.0.0:9093",
        "advertised": "b.example:9093",
        "protocol": "sasl_ssl",
    }
    tls = shop.pair("b.example") | {"certificates": [shop.pair("b.example", kind="rsa-3072")]}
    assert bad(judged(config(tls, outside), shop.ca)) == []
    twice = shop.pair("b.example") | {"certificates": [shop.pair("b.example")]}
    only(judged(config(twice, outside)), PROBLEM, "server.tls.certificates[0].cert_path", "same kind of key")
    lacking = shop.pair("b.example") | {"certificates": [shop.pair("c.example", kind="rsa-3072")]}
    only(judged(config(lacking, outside)), PROBLEM, "server.tls.cert_path", "c.example")
    by_name = shop.pair("a.example") | {"sni": {"b.example": shop.pair("b.example")}}
    assert bad(judged(config(by_name, outside), shop.ca)) == []
    wrong = shop.pair("b.example") | {"sni": {"d.example": shop.pair("a.example")}}
    only(
        judged(config(wrong, outside)),
        PROBLEM,
        "server.tls.sni.d.example.cert_path",
        "do not cover d.example",
    )


def asking(shop: Workshop, **more: object) -> Config:
    return config(shop.pair("127.0.0.1") | {"ca_path": str(shop.ca), "client_auth": "required"} | more)


def test_bundles_of_authorities(shop: Workshop, tmp_path: Path) -> None:
    assert bad(judged(asking(shop), shop.ca)) == [], "the client of --ca shows no certificate"
    ended = Workshop(tmp_path, "Ended")
    made = pki.make_authority(pki.subject_name("Ended"), ended.authority.key, NOW - 9 * DAY, 5 * DAY)
    both = shop.write("both.pem", shop.ca.read_bytes() + pki.certificate_pem(made))
    only(judged(asking(shop, ca_path=str(both))), WARNING, "server.tls.ca_path", "CN=Ended is not valid now")
    alone = shop.write("alone.pem", pki.certificate_pem(made))
    only(judged(asking(shop, ca_path=str(alone))), PROBLEM, "server.tls.ca_path", "not valid now")
    empty = shop.write("empty.pem", b"")
    only(judged(asking(shop, ca_path=str(empty))), PROBLEM, "server.tls.ca_path", "holds no PEM certificate")


@pytest.mark.parametrize(
    ("ago", "live", "expired", "verdict"),
    [
        (0, 10, "reject", OK),
        (9, 10, "reject", WARNING),
        (11, 10, "reject", PROBLEM),
        (11, 10, "allow", WARNING),
    ],
)
def test_lists_of_revoked_certificates(
    ago: int, live: int, expired: str, verdict: str, shop: Workshop
) -> None:
    tls = asking(shop, crl_path=str(shop.crl(ago=ago, live=live)), crl_expired=expired)
    [found] = [one for one in judged(tls) if one.key == "server.tls.crl_path"]
    assert found.verdict == verdict
    assert "the list of CN=Example CA counts to" in found.text


def test_a_large_list_is_judged_like_any_other(shop: Workshop) -> None:
    path = shop.crl(live=10)
    path.write_bytes(b"#" * (1 << 20) + b"\n" + path.read_bytes())
    [found] = [one for one in judged(asking(shop, crl_path=str(path))) if one.key == "server.tls.crl_path"]
    assert found.verdict == OK


def test_lists_that_fit_no_authority(shop: Workshop, tmp_path: Path) -> None:
    stranger = Workshop(tmp_path, "Stranger")
    found = bad(judged(asking(shop, crl_path=str(stranger.crl()))))
    assert {verdict for _, verdict, _ in found} == {WARNING}
    assert "has no list of CN=Example CA" in found[0][2]
    assert "of no authority in ca_path" in found[1][2]
    forged = Workshop(tmp_path, "Example CA")  # the same name, another key
    forged_list = forged.crl(live=11)
    shop.ca.write_bytes(pki.certificate_pem(shop.authority.certificate))
    texts = [text for _, _, text in bad(judged(asking(shop, crl_path=str(forged_list))))]
    assert any("no list of CN=Example CA" in text or "not signed by it" in text for text in texts)
    only(
        judged(asking(shop, crl_path=str(shop.ca))), PROBLEM, "server.tls.crl_path", "no PEM revocation list"
    )


def test_whom_the_broker_trusts_as_a_client(shop: Workshop) -> None:
    """Every ca_path of the file, wherever it stands."""
    output = {
        "type": "syslog",
        "address": "logs.example:6514",
        "transport": "tls",
        "ca_path": str(shop.directory / "none.pem"),
    }
    found = judged(config(shop.pair("127.0.0.1"), audit={"output": [output]}))
    only(found, PROBLEM, "audit.output[0].ca_path", "No such file")


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("a.example", True),
        ("A.EXAMPLE.", True),
        ("x.wild.example", True),
        ("x.y.wild.example", False),
        ("wild.example", False),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("0:0:0:0:0:0:0:1", True),
        ("b.example", False),
    ],
)
def test_which_names_a_certificate_covers(host: str, fits: bool, shop: Workshop) -> None:
    pair = shop.pair("a.example", "*.wild.example", "10.0.0.1", "::1")
    [facts] = certificate_facts(Path(pair["cert_path"]))
    assert covers(facts, host) is fits
