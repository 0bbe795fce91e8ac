"""The provider `vault`: the conformance suite over a scripted transit server, and all its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rivven.config.storage import EncryptionConfig, VaultConfig
from rivven.security.keys.provider import (
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.security.keys.vault import VaultProvider, open_vault
from rivven.testing.canary import leaks
from tests.conformance.key_providers import CONTEXT, PLAIN, Conformance, Subject
from tests.shipped.transit import DENIED, ROOT_TOKEN, Key, TransitServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TransitServer]:
    monkeypatch.setenv("TEST_TOKEN", ROOT_TOKEN)
    with TransitServer() as server:
        yield server


def config(url: str, **fields: object) -> VaultConfig:
    known: dict[str, object] = {"address": url, "auth": {"token": "env:TEST_TOKEN"}}
    return VaultConfig.model_validate(known | fields)


@pytest.fixture
def provider(server: TransitServer) -> Iterator[VaultProvider]:
    made = VaultProvider(config(server.url))
    yield made
    made.close()


@contextmanager
def away(server: TransitServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


class TestScripted(Conformance):
    @pytest.fixture
    def subject(self, server: TransitServer, provider: VaultProvider) -> Subject:
        return Subject(provider, lambda: away(server), "rivven:v77", (ROOT_TOKEN,))


@pytest.mark.parametrize(
    ("status", "errors", "kind"),
    [
        (400, ["cipher: message authentication failed"], KeyMismatch),
        (400, ["invalid ciphertext: no prefix"], KeyMismatch),
        (400, ["encryption key not found"], KeyGone),
        (400, ["invalid ciphertext: version is too new"], KeyGone),
        (403, ["permission denied"], KeyRefused),
        (404, ['no handler for route "transit/decrypt/rivven"'], KeyRefused),
        (405, ["unsupported operation"], ProviderUnavailable),
        (412, ["required index state not present"], ProviderUnavailable),
        (429, ["request path rate limit quota exceeded"], ProviderUnavailable),
        (472, ["disaster recovery secondary"], ProviderUnavailable),
        (500, ["internal error"], ProviderUnavailable),
        (501, [], ProviderUnavailable),
        (502, [], ProviderUnavailable),
        (503, ["Vault is sealed"], ProviderUnavailable),
    ],
)
def test_each_refusal_has_its_meaning_and_repeats_no_words(
    server: TransitServer,
    provider: VaultProvider,
    status: int,
    errors: list[str],
    kind: type[KeyProviderError],
) -> None:
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    said = [*errors, f"you sent {PLAIN!r}"]
    server.fault("/transit/decrypt/", status, {"errors": said})
    with pytest.raises(KeyProviderError) as caught:
        provider.unwrap(wrapped, CONTEXT)
    assert isinstance(caught.value, kind), repr(caught.value)
    texts = {"error": f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"}
    assert not leaks([PLAIN, ROOT_TOKEN], texts)


def test_a_sealed_server_is_called_so(server: TransitServer, provider: VaultProvider) -> None:
    server.fault("/transit/", 503, {"errors": ["Vault is sealed"]})
    with pytest.raises(ProviderUnavailable, match="the server is sealed"):
        provider.current_id("")


@pytest.mark.parametrize(
    "fault",
    [
        {"close": True},
        {"status": 200, "payload": b"<html>not JSON"},
        {"status": 200, "payload": {"data": {}}},
        {"status": 200, "payload": {"data": {"ciphertext": "x", "plaintext": "%%", "type": "aes256-gcm96"}}},
        {"status": 204},
    ],
)
def test_nonsense_is_no_answer(
    server: TransitServer, provider: VaultProvider, fault: dict[str, object]
) -> None:
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    for path, call in (
        ("/encrypt/", lambda: provider.wrap("", PLAIN, CONTEXT)),
        ("/decrypt/", lambda: provider.unwrap(wrapped, CONTEXT)),
        ("/keys/", lambda: provider.current_id("")),
    ):
        made = server.fault(path, **fault)  # type: ignore[arg-type]
        with pytest.raises((ProviderUnavailable, KeyRefused)):
            call()
        server.faults.remove(made)
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN


def test_a_redirect_is_not_followed(server: TransitServer, provider: VaultProvider) -> None:
    with TransitServer() as other:
        server.fault("/transit/", 307, headers={"Location": f"{other.url}/v1/transit/keys/rivven"})
        with pytest.raises(ProviderUnavailable, match="answered 307"):
            provider.current_id("")
        assert not other.requests, "the token goes nowhere else"


def test_a_kept_connection_that_was_closed_is_made_anew(
    server: TransitServer, provider: VaultProvider
) -> None:
    provider.current_id("")
    with away(server):
        pass
    assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../sys/seal", "a/b", "a?x", "-a", "a-", "", "ä", "a" * 300, "a\n"])
def test_a_name_that_is_a_path_reaches_no_server(
    server: TransitServer, provider: VaultProvider, name: str
) -> None:
    if not name:
        provider = VaultProvider(config(server.url, key="/"))
    for call in (lambda: provider.wrap(name, PLAIN, CONTEXT), lambda: provider.rotate(name)):
        with pytest.raises(KeyGone, match="letters, digits"):
            call()
    with pytest.raises(KeyGone, match="NAME:vVERSION"):
        provider.destroy(f"{name}:v1" if name else "rivven:v0")
    assert not server.requests


def test_a_mistyped_name_makes_no_key(server: TransitServer, provider: VaultProvider) -> None:
    with pytest.raises(KeyGone, match="no key rivvne"):
        provider.wrap("rivvne", PLAIN, CONTEXT)
    assert set(server.keys) == {"rivven"} and not server.asked("/encrypt/")
    provider.wrap("", PLAIN, CONTEXT)
    provider.wrap("", PLAIN, CONTEXT)
    assert len(server.asked("/keys/rivven")) == 1, "looked for once only"


@pytest.mark.parametrize("key", [Key(kind="rsa-2048"), Key(derived=True)])
def test_a_key_that_binds_no_context_is_refused(
    server: TransitServer, provider: VaultProvider, key: Key
) -> None:
    server.keys["rivven"] = key
    with pytest.raises(KeyRefused, match="binds no associated data"):
        provider.wrap("", PLAIN, CONTEXT)
    assert not server.asked("/encrypt/")


def test_a_topics_own_key_is_used_by_its_name(server: TransitServer, provider: VaultProvider) -> None:
    server.keys["payments"] = Key()
    wrapped = provider.wrap("payments", PLAIN, CONTEXT)
    assert wrapped.key_id == "payments:v1" == provider.current_id("payments")
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN
    assert provider.rotate("payments") == "payments:v2" and provider.current_id("") == "rivven:v1"


def test_mount_and_namespace_are_kept_to(server: TransitServer) -> None:
    server.namespace = "team-a"
    with pytest.raises(KeyRefused, match="nothing is mounted there"):
        VaultProvider(config(server.url)).current_id("")
    made = VaultProvider(config(server.url, namespace="team-a", mount="/transit/"))
    assert made.current_id("") == "rivven:v1"
    made.close()
    with pytest.raises(KeyRefused, match="nothing is mounted there"):
        VaultProvider(config(server.url, namespace="team-a", mount="elsewhere")).current_id("")


# -- versions ------------------------------------------------------------------------------------------------


def test_a_version_that_may_not_decrypt_is_refused_and_a_trimmed_one_gone(
    server: TransitServer, provider: VaultProvider
) -> None:
    old = provider.wrap("", PLAIN, CONTEXT)
    provider.rotate("")
    server.keys["rivven"].min_decryption = 2
    with pytest.raises(KeyRefused, match="min_decryption_version"):
        provider.unwrap(old, CONTEXT)
    assert [one.state for one in provider.describe("")] == ["disabled", "enabled"]
    assert provider.destroy(old.key_id).complete
    with pytest.raises(KeyGone, match="version 1 of rivven was destroyed"):
        provider.unwrap(old, CONTEXT)
    assert [one.state for one in provider.describe("")] == ["destroyed", "enabled"]


def test_versions_are_destroyed_from_the_oldest_on(server: TransitServer, provider: VaultProvider) -> None:
    wrapped = [provider.wrap("", PLAIN, CONTEXT)]
    for _ in range(2):
        provider.rotate("")
        wrapped.append(provider.wrap("", PLAIN, CONTEXT))
    with pytest.raises(KeyRefused, match="before version 1"):
        provider.destroy("rivven:v2")
    assert all(provider.unwrap(one, CONTEXT) == PLAIN for one in wrapped), "nothing was touched"
    for version in (1, 2):
        assert provider.destroy(f"rivven:v{version}").complete
    with pytest.raises(KeyRefused, match="current"):
        provider.destroy("rivven:v3")
    assert set(server.keys["rivven"].versions) == {3}
    assert provider.unwrap(wrapped[2], CONTEXT) == PLAIN


@pytest.mark.parametrize("step", ["/config", "/trim"])
def test_what_may_not_be_trimmed_is_not_called_destroyed(
    server: TransitServer, provider: VaultProvider, step: str
) -> None:
    old = provider.wrap("", PLAIN, CONTEXT)
    provider.rotate("")
    denial = server.fault(f"/keys/rivven{step}", DENIED[0], DENIED[1])
    with pytest.raises(KeyRefused, match="permission denied"):
        provider.destroy(old.key_id)
    assert provider.describe("")[0].state != "destroyed"
    server.faults.remove(denial)
    assert provider.destroy(old.key_id).complete


def test_a_trim_that_is_confirmed_and_not_done_is_noticed(
    server: TransitServer, provider: VaultProvider
) -> None:
    provider.rotate("")
    server.fault("/trim", 204)
    with pytest.raises(KeyRefused, match="still there"):
        provider.destroy("rivven:v1")


def test_a_rotation_is_sent_once(server: TransitServer, provider: VaultProvider) -> None:
    provider.current_id("")
    server.fault("/rotate", close=True)
    with pytest.raises(ProviderUnavailable):
        provider.rotate("")
    assert len(server.asked("/rotate")) == 1
    server.faults.clear()
    server.fault("/rotate", 204)
    with pytest.raises(KeyRefused, match="was not rotated"):
        provider.rotate("")


def test_a_blob_of_another_version_is_a_mismatch(server: TransitServer, provider: VaultProvider) -> None:
    provider.rotate("")
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    with pytest.raises(KeyMismatch):
        provider.unwrap(WrappedKey("vault", "rivven:v1", wrapped.blob), CONTEXT)
    assert not server.asked("/decrypt/")


def test_the_factory_opens_nothing(server: TransitServer) -> None:
    section = EncryptionConfig(enabled=True, key_source="vault", vault=config(server.url))
    open_vault(section).close()
    assert not server.requests
