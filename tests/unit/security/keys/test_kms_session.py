"""Sessions with AWS: where credentials, role and region come from, over a scripted KMS and token service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from rivven.config.storage import KmsConfig
from rivven.security.keys.kms import KmsProvider
from rivven.security.keys.kms_session import region_of
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable
from rivven.testing.canary import leaks
from tests.conformance.key_providers import CONTEXT, PLAIN
from tests.shipped.kms import ACCESS_KEY, ACCOUNT, REGION, ScriptedKms, environment
from tests.shipped.scripted import Request

ROLE = f"arn:aws:iam::{ACCOUNT}:role/broker"
EXTERNAL_ID = "external-id-of-a-test"
ROLE_SECRET = "secret-access-key-of-the-role"


class ScriptedAws(ScriptedKms):
    """KMS and the token service at one address."""

    lifetime = timedelta(hours=1)

    def parse(self, content: bytes) -> dict[str, Any]:
        if content.startswith(b"{"):
            return super().parse(content)
        return dict(parse_qsl(content.decode()))

    def operation(self, request: Request) -> str:
        return str(request.body.get("Action", super().operation(request)))

    def answer(self, request: Request) -> tuple[int, object]:
        if "Action" not in request.body:
            return super().answer(request)
        ends = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        number = len(self.asked("AssumeRole"))
        return 200, (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
            f"<Credentials><AccessKeyId>ASIAROLE{number}</AccessKeyId>"
            f"<SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>"
            f"<SessionToken>session-{number}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
            "</AssumeRoleResult></AssumeRoleResponse>"
        ).encode()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedAws]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedAws() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        yield server


Connect = Callable[..., KmsProvider]


@pytest.fixture
def connect(aws: ScriptedAws) -> Iterator[Connect]:
    made: list[KmsProvider] = []

    def connect(**fields: object) -> KmsProvider:
        known = {"key_id": ScriptedKms.ALIAS, "region": REGION, "endpoint_url": aws.url}
        made.append(KmsProvider(KmsConfig.model_validate(known | fields)))
        return made[-1]

    yield connect
    for provider in made:
        provider.close()


def signed_with(request: Request) -> tuple[str, str]:
    """Access key and region of a request's signature."""
    scope = request.headers["Authorization"].partition("Credential=")[2].partition(",")[0].split("/")
    return scope[0], scope[2]


def test_the_sdks_own_chain_is_the_default(aws: ScriptedAws, connect: Connect) -> None:
    connect().current_id("")
    assert signed_with(aws.requests[0]) == (ACCESS_KEY[0], REGION)


def test_credentials_of_the_configuration_come_first(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_ID", "AKIDCONFIGURED")
    monkeypatch.setenv("OUR_SECRET", "secret")
    connect(access_key_id="env:OUR_ID", secret_access_key="env:OUR_SECRET").current_id("")
    assert signed_with(aws.requests[0])[0] == "AKIDCONFIGURED"


def test_a_profile_of_the_sdk_may_be_the_default(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    credentials = tmp_path / "credentials"
    credentials.write_text("[broker]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "broker")
    connect().current_id("")
    assert signed_with(aws.requests[0])[0] == "AKIDPROFILE"


def test_no_credentials_may_be_a_matter_of_time(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    provider = connect()
    with pytest.raises(ProviderUnavailable, match="no credentials were found"):
        provider.current_id("")
    with pytest.raises(ProviderUnavailable, match="no credentials to assume the role with"):
        connect(role_arn=ROLE).current_id("")
    assert not aws.requests
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, environment()[name])
    assert provider.current_id("") == aws.aliases[ScriptedKms.ALIAS]


# -- the role ------------------------------------------------------------------------------------------------


def test_a_role_is_assumed_with_what_it_asks_for(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTERNAL_ID", EXTERNAL_ID)
    provider = connect(role_arn=ROLE, external_id="env:EXTERNAL_ID")
    assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN
    [request] = aws.asked("AssumeRole")
    wanted = {"RoleArn": ROLE, "ExternalId": EXTERNAL_ID, "RoleSessionName": "rivven"}
    assert request.body.items() >= wanted.items()
    assert signed_with(request) == (ACCESS_KEY[0], REGION)
    assert {signed_with(one)[0] for one in aws.asked("crypt")} == {"ASIAROLE1"}
    assert aws.asked("Encrypt")[0].headers["X-Amz-Security-Token"] == "session-1"


def test_a_role_is_taken_again_before_its_credentials_end(aws: ScriptedAws, connect: Connect) -> None:
    aws.lifetime = timedelta(seconds=30)  # within the SDK's margin: every use asks anew
    provider = connect(role_arn=ROLE)
    provider.current_id("")
    aws.lifetime = timedelta(hours=1)
    provider.current_id("")
    provider.current_id("")
    assert signed_with(aws.asked("DescribeKey")[-1])[0] == f"ASIAROLE{len(aws.asked('AssumeRole'))}"
    assert len(aws.asked("AssumeRole")) == 2


def test_a_role_that_may_not_be_taken_is_a_refusal(aws: ScriptedAws, connect: Connect) -> None:
    refusal = f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{ROLE_SECRET}</Message></Error>"
    aws.fault("AssumeRole", 403, (refusal + "</ErrorResponse>").encode())
    with pytest.raises(
        KeyRefused, match=r"AssumeRole with .*AccessDenied: the credentials may not"
    ) as caught:
        connect(role_arn=ROLE).current_id("")
    assert not leaks([ROLE_SECRET], {"error": f"{caught.value!r}"})


def test_an_external_id_that_cannot_be_read_is_named(aws: ScriptedAws, connect: Connect) -> None:
    with pytest.raises(KeyRefused, match="external_id: env:NO_SUCH_VARIABLE"):
        connect(role_arn=ROLE, external_id="env:NO_SUCH_VARIABLE").current_id("")
    assert not aws.requests


# -- region and authorities ----------------------------------------------------------------------------------


def test_the_region_is_that_of_the_configuration_the_arn_or_the_environment(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = aws.aliases[ScriptedKms.ALIAS]
    connect(key_id=arn, region=None).current_id("")
    assert signed_with(aws.requests[-1])[1] == REGION == region_of(arn)
    with pytest.raises(KeyRefused, match=r"no region: set storage.encryption.kms.region"):
        connect(region=None).current_id("")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    connect(region=None).current_id("")
    assert signed_with(aws.requests[-1])[1] == "us-west-2"


def test_keys_of_another_region_are_asked_for_there(
    aws: ScriptedAws, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrapped before a move of the configuration opens where its ARN says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", aws.url)
    wrapped = connect(endpoint_url=None).wrap("", PLAIN, CONTEXT)
    assert connect(endpoint_url=None, region="us-west-2").unwrap(wrapped, CONTEXT) == PLAIN
    assert signed_with(aws.requests[-1])[1] == REGION


def test_authorities_that_are_not_there_are_named(connect: Connect, tmp_path: Path) -> None:
    provider = connect(endpoint_url="https://127.0.0.1:1", ca_path=tmp_path / "no-such-file")
    with pytest.raises(KeyRefused, match="no-such-file"):
        provider.current_id("")
