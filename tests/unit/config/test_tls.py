"""What the sections about TLS refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rivven.config.tls import CIPHERS_TLS_1_2, TlsConfig

PAIR = {"cert_path": "a.crt", "key_path": "a.key"}
MTLS = {"client_auth": "required", "ca_path": "ca.crt"}


def refusal(**keys: object) -> str:
    with pytest.raises(ValidationError) as refused:
        TlsConfig.model_validate({**PAIR, **keys})
    return str(refused.value)


def test_what_goes_together() -> None:
    assert "go together" in refusal(client_auth="required")
    assert "go together" in refusal(ca_path="ca.crt")
    assert "crl_path has no meaning" in refusal(crl_path="crl.pem")
    assert "crl_expired has no meaning" in refusal(**MTLS, crl_expired="allow")
    TlsConfig.model_validate({**PAIR, **MTLS, "crl_path": "crl.pem", "crl_expired": "allow"})


def test_only_sound_suites_can_be_chosen() -> None:
    assert "is none of" in refusal(ciphers=["ECDHE-RSA-AES256-SHA384"])
    assert "is none of" in refusal(ciphers=["AES256-GCM-SHA384"])
    assert "min_version refuses" in refusal(ciphers=[CIPHERS_TLS_1_2[0]], min_version="1.3")
    TlsConfig.model_validate({**PAIR, "ciphers": [CIPHERS_TLS_1_2[0]]})


@pytest.mark.parametrize("name", ["Kafka.example", "a b", "", "*", "a.*.example"])
def test_names_are_host_names_in_lower_case(name: str) -> None:
    assert "is no host name" in refusal(sni={name: PAIR})


def test_names_and_further_pairs() -> None:
    tls = TlsConfig.model_validate({**PAIR, "sni": {"*.example": PAIR}, "certificates": [PAIR]})
    assert str(tls.sni["*.example"].cert_path) == "a.crt"
    assert "Extra inputs" in refusal(certificates=[{**PAIR, "ca_path": "x"}])
    assert "at most 3 items" in refusal(certificates=[PAIR] * 4)
