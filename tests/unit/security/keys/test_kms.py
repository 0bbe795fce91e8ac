"""The provider `kms`: the conformance suite over a scripted KMS, and every answer the service may give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rivven.config.storage import EncryptionConfig, KmsConfig
from rivven.security.keys.kms import KmsProvider, open_kms
from rivven.security.keys.provider import (
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
)
from rivven.testing.canary import leaks
from tests.conformance.key_providers import CONTEXT, PLAIN, Conformance, Subject
from tests.shipped.kms import ACCESS_KEY, ACCOUNT, REGION, ScriptedKms
from tests.unit.security.keys.clock import HandClock

UNKNOWN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY_ID", ACCESS_KEY[0])
    monkeypatch.setenv("TEST_SECRET", ACCESS_KEY[1])


@pytest.fixture
def kms() -> Iterator[ScriptedKms]:
    with ScriptedKms() as server:
        yield server


def config(url: str, **fields: object) -> KmsConfig:
    known: dict[str, object] = {
        "key_id": ScriptedKms.ALIAS,
        "region": REGION,
        "endpoint_url": url,
        "access_key_id": "env:TEST_KEY_ID",
        "secret_access_key": "env:TEST_SECRET",
    }
    return KmsConfig.model_validate(known | fields)


@pytest.fixture
def provider(kms: ScriptedKms) -> Iterator[KmsProvider]:
    made = KmsProvider(config(kms.url))
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedKms, KmsProvider]]:
    """One server and client for many small questions: a client reads the SDK's model of the service."""
    with pytest.MonkeyPatch.context() as patch, ScriptedKms() as server:
        patch.setenv("TEST_KEY_ID", ACCESS_KEY[0])
        patch.setenv("TEST_SECRET", ACCESS_KEY[1])
        made = KmsProvider(config(server.url))
        made.current_id("")
        yield server, made
        made.close()


@contextmanager
def away(kms: ScriptedKms) -> Iterator[None]:
    kms.stop()
    try:
        yield
    finally:
        kms.start()


class TestScripted(Conformance):
    @pytest.fixture
    def subject(self, kms: ScriptedKms, provider: KmsProvider) -> Subject:
        return Subject(
            provider,
            lambda: away(kms),
            UNKNOWN,
            ACCESS_KEY,
            completes=False,
            unknown_name="alias/no-such-key",
        )


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDeniedException", 400, KeyRefused),
        ("UnrecognizedClientException", 400, KeyRefused),
        ("ExpiredTokenException", 400, KeyRefused),
        ("InvalidSignatureException", 403, KeyRefused),
        ("DisabledException", 400, KeyRefused),
        ("KMSInvalidStateException", 400, KeyRefused),
        ("InvalidKeyUsageException", 400, KeyRefused),
        ("ValidationException", 400, KeyRefused),
        ("SomethingNew", 400, KeyRefused),
        ("NotFoundException", 400, KeyGone),
        ("InvalidCiphertextException", 400, KeyMismatch),
        ("IncorrectKeyException", 400, KeyMismatch),
        ("ThrottlingException", 400, ProviderUnavailable),
        ("KMSInternalException", 500, ProviderUnavailable),
        ("DependencyTimeoutException", 500, ProviderUnavailable),
        ("KeyUnavailableException", 500, ProviderUnavailable),
        ("SomethingNew", 503, ProviderUnavailable),
    ],
)
def test_each_refusal_has_its_meaning_and_repeats_no_message(
    shared: tuple[ScriptedKms, KmsProvider], code: str, status: int, kind: type[KeyProviderError]
) -> None:
    kms, provider = shared
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    refusal = kms.refuse("Decrypt", code, status, message=f"your request was {PLAIN!r}", times=2)
    with pytest.raises(KeyProviderError) as caught:
        provider.unwrap(wrapped, CONTEXT)
    if refusal in kms.faults:
        kms.faults.remove(refusal)
    assert type(caught.value) is kind
    assert code in str(caught.value) and wrapped.key_id in str(caught.value)
    assert not leaks([PLAIN], {"error": f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"})


def test_an_overload_is_tried_twice_in_one_call(kms: ScriptedKms, provider: KmsProvider) -> None:
    kms.refuse("Encrypt", "ThrottlingException", times=1)
    assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN
    assert len(kms.asked("Encrypt")) == 2


def test_silence_ends_with_the_time_limit(kms: ScriptedKms) -> None:
    provider = KmsProvider(config(kms.url, timeout_secs=1.0))
    kms.fault("Encrypt", hold=True)
    with pytest.raises(ProviderUnavailable, match="ReadTimeoutError"):
        provider.wrap("", PLAIN, CONTEXT)
    assert len(kms.asked("Encrypt")) == 2
    provider.close()


@pytest.mark.parametrize(
    "fault", [{"close": True}, {"status": 200, "payload": b"<html>not JSON"}, {"status": 200, "payload": {}}]
)
def test_nonsense_is_no_answer(kms: ScriptedKms, provider: KmsProvider, fault: dict[str, object]) -> None:
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    for operation, call in (
        ("Encrypt", lambda: provider.wrap("", PLAIN, CONTEXT)),
        ("Decrypt", lambda: provider.unwrap(wrapped, CONTEXT)),
        ("DescribeKey", lambda: provider.current_id("")),
    ):
        made = kms.fault(operation, **fault)
        with pytest.raises((ProviderUnavailable, KeyMismatch)):
            call()
        kms.faults.remove(made)
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN


def test_the_context_goes_along_and_an_arn_is_stored_for_the_alias(
    kms: ScriptedKms, provider: KmsProvider
) -> None:
    wrapped = provider.wrap("", PLAIN, CONTEXT)
    [request] = kms.asked("Encrypt")
    assert request.body["EncryptionContext"] == CONTEXT and request.body["KeyId"] == kms.ALIAS
    assert wrapped.key_id == kms.aliases[kms.ALIAS]
    provider.unwrap(wrapped, CONTEXT)
    [request] = kms.asked("Decrypt")
    assert (request.body["EncryptionContext"], request.body["KeyId"]) == (CONTEXT, wrapped.key_id)


def test_a_topics_own_key_is_used_by_its_name(kms: ScriptedKms, provider: KmsProvider) -> None:
    own = kms.make()
    kms.aliases["alias/payments"] = own.arn
    assert provider.wrap("alias/payments", PLAIN, CONTEXT).key_id == own.arn
    assert provider.wrap(own.arn, PLAIN, CONTEXT).key_id == own.arn
    assert provider.current_id("alias/payments") == own.arn


def test_a_key_that_says_another_opened_it_is_a_mismatch(kms: ScriptedKms, provider: KmsProvider) -> None:
    wrapped, other = provider.wrap("", PLAIN, CONTEXT), kms.make()
    kms.fault("Decrypt", 200, {"KeyId": other.arn, "Plaintext": "eA=="})
    with pytest.raises(KeyMismatch, match="another key did"):
        provider.unwrap(wrapped, CONTEXT)


# -- rotation ------------------------------------------------------------------------------------------------


def test_a_new_key_is_like_the_old_one_and_names_it(kms: ScriptedKms, provider: KmsProvider) -> None:
    old = kms.keys[kms.aliases[kms.ALIAS]]
    old.policy = '{"Statement": "own"}'
    made = kms.keys[provider.rotate("")]
    assert made.policy == old.policy and made.description.endswith(f"follows {old.arn}")
    assert kms.aliases[kms.ALIAS] == made.arn


def test_a_moved_alias_is_remembered_until_the_service_must_know(kms: ScriptedKms) -> None:
    clock = HandClock()
    provider = KmsProvider(config(kms.url), clock)
    old = kms.aliases[kms.ALIAS]
    made = provider.rotate("")
    kms.aliases[kms.ALIAS] = old  # the service has not told all its machines yet
    assert provider.wrap("", PLAIN, CONTEXT).key_id == provider.current_id("") == made
    clock.seconds += 599
    assert provider.current_id("") == made
    clock.seconds += 2
    assert provider.current_id("") == old, (
        "from here on the service is right, somebody else may have moved it"
    )
    provider.close()


@pytest.mark.parametrize("form", ["arn", "id"])
def test_a_key_without_an_alias_cannot_be_rotated(kms: ScriptedKms, form: str) -> None:
    arn = kms.aliases[kms.ALIAS]
    provider = KmsProvider(config(kms.url, key_id=arn if form == "arn" else arn.rpartition("/")[2]))
    assert provider.wrap("", PLAIN, CONTEXT).key_id == arn
    with pytest.raises(KeyRefused, match=r"not an alias.*create an alias"):
        provider.rotate("")
    assert not kms.asked("CreateKey")
    provider.close()


def test_an_alias_may_be_given_as_arn(kms: ScriptedKms) -> None:
    provider = KmsProvider(config(kms.url, key_id=f"arn:aws:kms:{REGION}:{ACCOUNT}:{kms.ALIAS}"))
    made = provider.rotate("")
    assert kms.aliases[kms.ALIAS] == made == provider.current_id("")
    provider.close()


def test_imported_material_cannot_be_made_anew(kms: ScriptedKms, provider: KmsProvider) -> None:
    kms.keys[kms.aliases[kms.ALIAS]].origin = "EXTERNAL"
    with pytest.raises(KeyRefused, match="key material from elsewhere"):
        provider.rotate("")
    assert not kms.asked("CreateKey")


@pytest.mark.parametrize("operation", ["GetKeyPolicy", "CreateKey", "UpdateAlias"])
def test_a_rotation_that_fails_leaves_the_old_key_current(
    kms: ScriptedKms, provider: KmsProvider, operation: str
) -> None:
    before = provider.current_id("")
    kms.refuse(operation, "AccessDeniedException")
    with pytest.raises(KeyRefused, match=operation):
        provider.rotate("")
    assert provider.current_id("") == before == provider.wrap("", PLAIN, CONTEXT).key_id


# -- destruction ---------------------------------------------------------------------------------------------


def test_deletion_waits_as_long_as_configured(kms: ScriptedKms) -> None:
    provider = KmsProvider(config(kms.url, deletion_days=30))
    old = provider.current_id("")
    provider.rotate("")
    destruction = provider.destroy(old)
    assert not destruction.complete
    assert destruction.until_ms == int(kms.keys[old].deletion or 0) * 1000
    [request] = kms.asked("ScheduleKeyDeletion")
    assert request.body == {"KeyId": old.rpartition("/")[2], "PendingWindowInDays": 30}
    assert provider.destroy(old) == destruction and len(kms.asked("ScheduleKeyDeletion")) == 1
    assert provider.state(old) == "pending-destruction"
    kms.keys[old].state = "Disabled"  # as a key whose deletion was called off
    assert provider.state(old) == "disabled"
    assert len(kms.asked("ScheduleKeyDeletion")) == 1
    del kms.keys[old]  # thirty days later
    assert provider.state(old) == "destroyed"
    with pytest.raises(KeyGone):
        provider.destroy(old)
    assert [one.state for one in provider.describe("")] == ["destroyed", "enabled"]
    provider.close()


def test_what_another_alias_points_at_is_not_destroyed(kms: ScriptedKms, provider: KmsProvider) -> None:
    own = kms.make()
    kms.aliases["alias/payments"] = own.arn
    with pytest.raises(KeyRefused, match="alias/payments points at"):
        provider.destroy(own.arn)
    assert own.state == "Enabled"


def test_an_alias_that_is_gone_is_no_proof_of_a_destruction(kms: ScriptedKms, provider: KmsProvider) -> None:
    old = provider.current_id("")
    del kms.aliases[ScriptedKms.ALIAS]
    for ask in (provider.destroy, provider.state):
        with pytest.raises(KeyRefused, match="there is no such key"):
            ask(old)
    assert kms.keys[old].state == "Enabled"


@pytest.mark.parametrize(
    ("key_id", "why"),
    [
        (UNKNOWN.replace(ACCOUNT, "999999999999"), "another account"),
        (UNKNOWN.replace(REGION, "us-east-1"), "another account or region"),
        ("alias/rivven", "not the ARN"),
        ("", "not the ARN"),
    ],
)
def test_not_found_elsewhere_is_no_proof_of_destruction(
    shared: tuple[ScriptedKms, KmsProvider], key_id: str, why: str
) -> None:
    _, provider = shared
    for ask in (provider.destroy, provider.state):
        with pytest.raises(KeyRefused, match=why):
            ask(key_id)


def test_a_disabled_key_is_described_as_such(kms: ScriptedKms, provider: KmsProvider) -> None:
    kms.keys[provider.current_id("")].state = "Disabled"
    [one] = provider.describe("")
    assert (one.state, one.current) == ("disabled", True)
    with pytest.raises(KeyRefused, match="the key is disabled"):
        provider.wrap("", PLAIN, CONTEXT)


# -- credentials ---------------------------------------------------------------------------------------------


def test_a_secret_that_cannot_be_read_is_named_not_shown(
    kms: ScriptedKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_SECRET")
    provider = KmsProvider(config(kms.url))
    with pytest.raises(KeyRefused, match="env:TEST_SECRET: the environment has no such variable"):
        provider.current_id("")


def test_the_factory_opens_nothing(kms: ScriptedKms) -> None:
    section = EncryptionConfig(enabled=True, key_source="kms", kms=config("http://127.0.0.1:9"))
    made = open_kms(section)
    made.close()
    assert not kms.requests
