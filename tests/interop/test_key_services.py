"""The key providers against real servers: AWS KMS as moto serves it, and OpenBao itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rivven.config.storage import KmsConfig, VaultConfig
from rivven.security.keys.kms import KmsProvider
from rivven.security.keys.provider import KeyGone, KeyProviderError, KeyRefused
from rivven.security.keys.vault import VaultProvider
from rivven.security.keys.vault_session import VaultSession
from tests.conformance.key_providers import CONTEXT, PLAIN, Conformance, Subject
from tests.shipped.kms import ACCESS_KEY, ACCOUNT, REGION, MotoServer
from tests.shipped.openbao import KEY, OpenBao, TokenReviewer, openbao_program, service_account_jwt
from tests.shipped.pki import make_pki
from tests.shipped.relay import Relay

ALIAS = "alias/rivven"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


class TestMoto(Conformance):
    """What moto tells otherwise than the service's documentation is overridden here and said why; the
    scripted server of the unit tests goes by the documentation."""

    @pytest.fixture
    def subject(self, moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
        monkeypatch.setenv("TEST_KEY_ID", ACCESS_KEY[0])
        monkeypatch.setenv("TEST_SECRET", ACCESS_KEY[1])
        client = moto.client()
        made = client.create_key(Description="the first")["KeyMetadata"]["KeyId"]
        with suppress(client.exceptions.NotFoundException):
            client.delete_alias(AliasName=ALIAS)
        client.create_alias(AliasName=ALIAS, TargetKeyId=made)
        with Relay(moto.url) as relay:
            section = {
                "key_id": ALIAS,
                "region": REGION,
                "endpoint_url": relay.url,
                "access_key_id": "env:TEST_KEY_ID",
                "secret_access_key": "env:TEST_SECRET",
            }
            provider = KmsProvider(KmsConfig.model_validate(section))
            unknown = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000000"
            yield Subject(
                provider,
                relay.outage,
                unknown,
                ACCESS_KEY,
                completes=False,
                unknown_name="alias/no-such-key",
            )
            provider.close()

    def test_rotation_keeps_the_old_key_and_wraps_with_the_new_one(self, subject: Subject) -> None:
        """Without the last step: moto denies access where the service says IncorrectKeyException."""
        provider = subject.provider
        old_id, old = provider.current_id(""), provider.wrap("", PLAIN, CONTEXT)
        made = provider.rotate("")
        new = provider.wrap("", PLAIN, CONTEXT)
        assert made == provider.current_id("") == new.key_id != old_id == old.key_id
        assert provider.unwrap(old, CONTEXT) == provider.unwrap(new, CONTEXT) == PLAIN
        subject.refused(KeyRefused, lambda: provider.unwrap(old._replace(key_id=made), CONTEXT))

    def test_a_destroyed_key_opens_nothing_and_the_others_do(self, subject: Subject) -> None:
        """moto still decrypts with a key that waits for its deletion."""
        provider = subject.provider
        old = provider.current_id("")
        provider.rotate("")
        new = provider.wrap("", PLAIN, CONTEXT)
        destruction = provider.destroy(old)
        assert not destruction.complete and destruction.until_ms is not None
        days = (destruction.until_ms / 1000 - time.time()) / 86_400
        assert 6.9 < days < 7.1
        assert [one.state for one in provider.describe("")][-2:] == ["pending-destruction", "enabled"]
        assert provider.unwrap(new, CONTEXT) == PLAIN


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    program, reason = openbao_program()
    if program is None:
        if os.environ.get("RIVVEN_REQUIRE_INTEROP") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with OpenBao(program, tmp_path_factory.mktemp("openbao")) as server:
        yield server


Connect = Callable[..., VaultProvider]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes providers of a server by its address, with a token or another way to log in."""
    made: list[VaultProvider] = []

    def connect(address: str, token: str = "", **auth: object) -> VaultProvider:
        monkeypatch.setenv("TEST_TOKEN", token)
        section = {"address": address, "auth": auth or {"token": "env:TEST_TOKEN"}}
        made.append(VaultProvider(VaultConfig.model_validate(section)))
        return made[-1]

    yield connect
    for provider in made:
        provider.close()


class TestOpenBao(Conformance):
    @pytest.fixture
    def subject(self, bao: OpenBao, connect: Connect) -> Iterator[Subject]:
        bao.renew_key(KEY)
        token = bao.token("rivven-operator")
        with Relay(bao.url) as relay:
            yield Subject(connect(relay.url, token), relay.outage, f"{KEY}:v77", (token,))

    def test_an_unknown_key_is_gone(self, subject: Subject) -> None:
        """The operator's policy is for one key: to others it says no before it looks whether they exist."""
        provider = subject.provider
        wrapped = provider.wrap("", PLAIN, CONTEXT)._replace(key_id=subject.unknown_id)
        subject.refused(KeyGone, lambda: provider.unwrap(wrapped, CONTEXT))
        subject.refused(KeyGone, lambda: provider.destroy(subject.unknown_id))
        subject.refused(KeyRefused, lambda: provider.current_id(subject.unknown_name))
        subject.refused(KeyRefused, lambda: provider.wrap(subject.unknown_name, PLAIN, CONTEXT))


def test_a_root_token_is_told_that_a_key_does_not_exist_and_makes_none(
    bao: OpenBao, connect: Connect
) -> None:
    provider = connect(bao.url, bao.root_token)
    with pytest.raises(KeyGone, match="no key mistyped"):
        provider.wrap("mistyped", PLAIN, CONTEXT)
    with pytest.raises(KeyGone):
        provider.current_id("mistyped")


def test_the_brokers_policy_is_enough_for_the_broker_and_for_nothing_else(
    bao: OpenBao, connect: Connect
) -> None:
    bao.renew_key(KEY)
    provider = connect(bao.url, bao.token("rivven-broker"))
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN
    for call in (lambda: provider.rotate(""), lambda: provider.current_id("other")):
        with pytest.raises(KeyRefused, match="permission denied"):
            call()
    connect(bao.url, bao.token("rivven-operator")).rotate("")
    with pytest.raises(KeyRefused, match="permission denied"):
        provider.destroy(wrapped.key_id)
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN


@pytest.mark.parametrize("options", [{"type": "rsa-2048"}, {"derived": True}, {"type": "ed25519"}])
def test_keys_of_other_types_are_refused(bao: OpenBao, connect: Connect, options: dict[str, object]) -> None:
    bao.make_key("other-type", **options)
    try:
        with pytest.raises(KeyRefused, match="binds no associated data"):
            connect(bao.url, bao.root_token).wrap("other-type", PLAIN, CONTEXT)
    finally:
        bao.delete_key("other-type")


@pytest.mark.parametrize("kind", ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"])
def test_every_type_that_binds_a_context_works(bao: OpenBao, connect: Connect, kind: str) -> None:
    bao.make_key("some-type", type=kind)
    try:
        provider = connect(bao.url, bao.root_token)
        wrapped = provider.wrap("some-type", PLAIN, CONTEXT)
        assert provider.unwrap(wrapped, CONTEXT) == PLAIN
        with pytest.raises(KeyProviderError):
            provider.unwrap(wrapped, {})
    finally:
        bao.delete_key("some-type")


def test_a_revoked_token_is_refused(bao: OpenBao, connect: Connect) -> None:
    token = bao.token()
    provider = connect(bao.url, token)
    provider.current_id("")
    bao.client().auth.token.revoke(token)
    with pytest.raises(KeyRefused, match="permission denied"):
        provider.current_id("")


def test_an_approle_logs_in_and_again_after_its_token_was_revoked(
    bao: OpenBao, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    role_id, secret_id = bao.approle()
    monkeypatch.setenv("TEST_SECRET_ID", secret_id)
    provider = connect(bao.url, method="approle", role_id=role_id, secret_id="env:TEST_SECRET_ID")
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    bao.revoke_logins("approle")
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN
    monkeypatch.setenv("TEST_SECRET_ID", "00000000-0000-0000-0000-000000000000")
    other = connect(bao.url, method="approle", role_id=role_id, secret_id="env:TEST_SECRET_ID")
    with pytest.raises(KeyRefused, match="the login was refused"):
        other.current_id("")


def test_a_pod_logs_in_with_its_service_account(bao: OpenBao, connect: Connect, tmp_path: Path) -> None:
    jwt = tmp_path / "token"
    jwt.write_text(service_account_jwt())
    with TokenReviewer() as reviewer:
        reviewer.jwt = jwt.read_text()
        bao.kubernetes(reviewer, make_pki(tmp_path / "pki").ca)
        provider = connect(bao.url, method="kubernetes", role="broker", jwt_path=jwt)
        assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN
        assert reviewer.asked("tokenreviews")
        reviewer.jwt = "another"
        with pytest.raises(KeyRefused, match="the login was refused"):
            connect(bao.url, method="kubernetes", role="broker", jwt_path=jwt).current_id("")


def test_a_token_is_renewed_past_its_lease(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", bao.token(ttl="5s"))
    section = {"address": bao.url, "auth": {"token": "env:TEST_TOKEN"}}
    session = VaultSession(VaultConfig.model_validate(section))
    try:
        assert session.get(f"transit/keys/{KEY}")["type"] == "aes256-gcm96"
        time.sleep(6)  # the server's clock is what is tested
        assert session.get(f"transit/keys/{KEY}")["type"] == "aes256-gcm96"
    finally:
        session.close()
