"""The deny-list: what an entry may look like and which certificates it means."""

from __future__ import annotations

import pytest

from rivven.security.authn import denied_certificates
from rivven.security.authn.authenticator import Credential
from rivven.security.authn.denied_certificates import DeniedCertificates, DeniedEntryError, parse_denied

FINGERPRINT = "4f" * 32
CERTIFICATE = Credential("certificate", FINGERPRINT, issuer="CN=Our CA,O=We", serial="a3f")


@pytest.mark.parametrize(
    "line",
    [
        f"sha256:{FINGERPRINT}",
        "sha256:" + ":".join(["4F"] * 32) + "   # stolen laptop",
        "serial:a3f",
        "serial:0A:3F",
        "serial:A3F issuer:CN=Our CA,O=We",
    ],
)
def test_what_is_on_the_list_is_refused(line: str) -> None:
    denied = parse_denied(["# lost", "", line])
    assert "deny-list" in str(denied.reason(CERTIFICATE))
    assert denied.reason(Credential("password", FINGERPRINT, serial="a3f")) is None


@pytest.mark.parametrize(
    "line", ["sha256:" + "00" * 32, "serial:a3", "serial:a3f issuer:CN=Other", "# serial:a3f"]
)
def test_what_is_not_is_not(line: str) -> None:
    assert parse_denied([line]).reason(CERTIFICATE) is None


@pytest.mark.parametrize("line", ["sha256:4f", "serial:", "serial:xyz", "4f4f", "serial:1 subject:CN=x"])
def test_an_entry_that_means_nothing_is_named(line: str) -> None:
    with pytest.raises(DeniedEntryError, match="entry 2"):
        parse_denied(["serial:1", line])


def test_the_list_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied_certificates, "ENTRIES_MAX", 2)
    with pytest.raises(DeniedEntryError, match="more than 2"):
        parse_denied(["serial:1", "serial:2", "serial:3"])


def test_two_lists_are_one() -> None:
    both = parse_denied(["serial:1"]) | parse_denied(["serial:a3f"])
    assert both.reason(CERTIFICATE)
    assert DeniedCertificates().reason(CERTIFICATE) is None
