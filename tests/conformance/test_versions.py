"""Every API of the table over a socket, at every version it lists, with an answer that makes sense."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import API_RANGES, APIS, ApiKey
from rivven.protocol.codec import parse_response
from tests.conformance.answers import Names
from tests.conformance.calls import CALLS, VALUE
from tests.conformance.client import Client, fresh
from tests.conformance.wire import Closed, Refused, Wire
from tests.shipped.connection import Account, Connection

SETTINGS = {"connection.failed.authentication.delay.ms": 0}
SESSION_MS = 3_600_000
"""The default of ``connections.max.reauth.ms``; a session lives up to a tenth less."""
MEMBER_APIS = {ApiKey.SYNC_GROUP, ApiKey.HEARTBEAT, ApiKey.LEAVE_GROUP}
SASL_APIS = {ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE}

EVERY_VERSION = [
    (key, version)
    for key, api in APIS.items()
    if key not in SASL_APIS
    for version in range(api.decodable_from, api.max + 1)
]


@pytest.fixture
def names(admin: Client) -> Names:
    """A topic with one record, a group that committed offset 1, a user."""
    topic, group = admin.create_topic(), fresh("g")
    admin.produced(topic, VALUE)
    assert admin.commit(group, topic, 1, "note") == 0
    return Names(topic, admin.topic_id(topic), group, admin.create_user().user)


def joined(client: Client, names: Names, *, synced: bool) -> Names:
    """A fresh group with one member."""
    names = dataclasses.replace(names, group=fresh("g"))
    join = CALLS[ApiKey.JOIN_GROUP].request(3, names)
    answer = client.call(ApiKey.JOIN_GROUP, 3, join)
    assert answer.error_code == 0
    names = dataclasses.replace(names, member=answer.member_id, generation=answer.generation_id)
    if synced:
        sync = CALLS[ApiKey.SYNC_GROUP].request(3, names)
        assert client.call(ApiKey.SYNC_GROUP, 3, sync).error_code == 0
    return names


def test_every_api_of_the_table_has_a_case() -> None:
    assert set(CALLS) == set(APIS) - SASL_APIS


@pytest.mark.parametrize(("key", "version"), EVERY_VERSION, ids=lambda one: getattr(one, "name", str(one)))
def test_an_api_answers_sensibly(admin: Client, names: Names, key: ApiKey, version: int) -> None:
    case = CALLS[key]
    if key in MEMBER_APIS:
        names = joined(admin, names, synced=key is not ApiKey.SYNC_GROUP)
    elif key is ApiKey.JOIN_GROUP:
        names = dataclasses.replace(names, group=fresh("g"))
        if version >= 4:
            required = admin.call(key, version, case.request(version, names))
            assert required.error_code == ErrorCode.MEMBER_ID_REQUIRED
            names = dataclasses.replace(names, member=required.member_id)
    elif key in (ApiKey.DESCRIBE_ACLS, ApiKey.DELETE_ACLS):
        admin.call(ApiKey.CREATE_ACLS, 3, CALLS[ApiKey.CREATE_ACLS].request(3, names))
    elif key in (ApiKey.RENEW_DELEGATION_TOKEN, ApiKey.EXPIRE_DELEGATION_TOKEN):
        create = CALLS[ApiKey.CREATE_DELEGATION_TOKEN].request(3, names)
        names = dataclasses.replace(names, token=admin.call(ApiKey.CREATE_DELEGATION_TOKEN, 3, create).hmac)
    answer = admin.call(key, version, case.request(version, names))
    case.check(answer, version, names)


@pytest.mark.parametrize("version", [0, 1, 4, 9, 10, 13])
def test_metadata_of_everything_and_of_nothing(admin: Client, names: Names, version: int) -> None:
    everything = m.MetadataRequest(topics=[] if version == 0 else None)
    assert names.topic in {topic.name for topic in admin.call(ApiKey.METADATA, version, everything).topics}
    if version > 0:
        assert admin.call(ApiKey.METADATA, version, m.MetadataRequest(topics=[])).topics == []


@pytest.mark.parametrize("version", [12, 13])
def test_metadata_by_topic_id(admin: Client, names: Names, version: int) -> None:
    asked = m.MetadataRequest.MetadataRequestTopic(name=None, topic_id=names.topic_id)
    (topic,) = admin.call(ApiKey.METADATA, version, m.MetadataRequest(topics=[asked])).topics
    assert (topic.error_code, topic.name) == (0, names.topic)


@pytest.mark.parametrize("version", [10, 11])
def test_metadata_without_a_name_needs_version_12(admin: Client, names: Names, version: int) -> None:
    asked = m.MetadataRequest.MetadataRequestTopic(name=None, topic_id=names.topic_id)
    (topic,) = admin.call(ApiKey.METADATA, version, m.MetadataRequest(topics=[asked])).topics
    assert (topic.error_code, topic.name) == (ErrorCode.INVALID_REQUEST, "")


def test_delete_by_topic_id(admin: Client, names: Names) -> None:
    state = m.DeleteTopicsRequest.DeleteTopicState(topic_id=names.topic_id)
    request = m.DeleteTopicsRequest(topics=[state], timeout_ms=10_000)
    (result,) = admin.call(ApiKey.DELETE_TOPICS, 6, request).responses
    assert (result.error_code, result.topic_id) == (0, names.topic_id)
    assert admin.describe_topic(names.topic).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


# -- what is listed and not served ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_produce_is_listed_and_closes(plain: Connection, names: Names, version: int) -> None:
    """Listed so that old librdkafka compresses (KAFKA-18659); a request of it ends the connection."""
    assert API_RANGES[ApiKey.PRODUCE][0] == 0
    with Client(plain) as client:
        client.send_raw(_header(ApiKey.PRODUCE, version) + bytes(30))
        assert client.is_closed()


@pytest.mark.parametrize(
    ("key", "version"),
    [(key, api.max + 1) for key, api in APIS.items() if key is not ApiKey.API_VERSIONS]
    + [(key, api.min - 1) for key, api in APIS.items() if api.min > 0]
    + [(4, 0), (99, 0), (-1, 0), (ApiKey.METADATA, -1), (ApiKey.API_VERSIONS, -1), (71, 0), (24, 0)],
)
def test_an_unknown_api_or_version_closes(plain: Connection, key: int, version: int) -> None:
    with Client(plain) as client:
        client.send_raw(_header(key, version) + bytes(30))
        assert client.is_closed()


def _header(key: int, version: int) -> bytes:
    """Size and header v1 of a request whose body is 30 bytes."""
    head = key.to_bytes(2, "big", signed=True) + version.to_bytes(2, "big", signed=True)
    head += (77).to_bytes(4, "big") + b"\xff\xff"
    return (len(head) + 30).to_bytes(4, "big") + head


# -- ApiVersions ---------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(plain: Connection) -> Iterator[Client]:
    """Connected, not authenticated."""
    with Client(plain, login=False) as client:
        yield client


@pytest.mark.parametrize("version", [5, 9, 32767])
def test_too_new_api_versions_is_answered_in_version_0(
    stranger: Client, plain: Connection, version: int
) -> None:
    stranger.send_raw(_header(ApiKey.API_VERSIONS, version)[:-2] + b"\xff" * 32)
    data = stranger.receive_frame()
    assert int.from_bytes(data[:4], "big") == 77
    answer = parse_response(ApiKey.API_VERSIONS, 0, data, 4)
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(one.api_key, one.min_version, one.max_version) for one in answer.api_keys] == [
        (ApiKey.API_VERSIONS, *API_RANGES[ApiKey.API_VERSIONS])
    ]
    # The same connection goes on: the client asks again in a version both know, then logs in.
    case = CALLS[ApiKey.API_VERSIONS]
    assert stranger.call(ApiKey.API_VERSIONS, 4, case.request(4, None)).error_code == 0  # type: ignore[arg-type]
    assert plain.account is not None
    stranger.login(plain.account)


def test_a_nonsense_software_name_is_refused_and_the_connection_goes_on(stranger: Client) -> None:
    request = m.ApiVersionsRequest(client_software_name="no spaces", client_software_version="1")
    assert stranger.call(ApiKey.API_VERSIONS, 3, request).error_code == ErrorCode.INVALID_REQUEST
    assert stranger.call(ApiKey.API_VERSIONS, 0, m.ApiVersionsRequest()).error_code == 0


# -- SASL ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_sasl_authenticate(stranger: Client, plain: Connection, version: int, mechanism: str) -> None:
    assert plain.account is not None
    stranger.login(plain.account, mechanism, version=version)
    if version == 0:  # it has no field for it
        assert stranger.session_lifetime_ms == 0
    else:
        assert 0.9 * SESSION_MS - 5_000 <= stranger.session_lifetime_ms <= SESSION_MS
    assert stranger.metadata().brokers


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_bare_tokens_after_a_handshake_of_version_0(
    stranger: Client, plain: Connection, mechanism: str
) -> None:
    assert plain.account is not None
    stranger.login(plain.account, mechanism, handshake=0)
    assert stranger.metadata().brokers


def test_over_tls_too(broker, names: Names) -> None:
    for handshake in (0, 1):
        connection = broker.connection("sasl_ssl")
        with Client(connection, login=False) as client:
            client.login(connection.account, handshake=handshake)
            assert client.values(names.topic) == [VALUE]


@pytest.mark.parametrize("name", ["admin", "nobody-of-that-name"])
@pytest.mark.parametrize("handshake", [0, 1])
def test_a_wrong_password_says_nothing_and_closes(stranger: Client, name: str, handshake: int) -> None:
    if handshake == 0:
        with pytest.raises(Closed):
            stranger.login(Account(name, "wrong"), handshake=0)
        return
    with pytest.raises(Refused) as refused:
        stranger.login(Account(name, "wrong"))
    assert refused.value.code == ErrorCode.SASL_AUTHENTICATION_FAILED
    assert refused.value.text is not None
    assert name not in refused.value.text
    assert "invalid credentials" in refused.value.text
    assert stranger.is_closed()


def test_an_unknown_mechanism_is_answered_with_the_list_and_closes(stranger: Client) -> None:
    answer = stranger.call(ApiKey.SASL_HANDSHAKE, 1, m.SaslHandshakeRequest(mechanism="PLAIN"))
    assert answer.error_code == ErrorCode.UNSUPPORTED_SASL_MECHANISM
    assert answer.mechanisms == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    assert stranger.is_closed()


def test_a_token_before_a_handshake_closes(stranger: Client) -> None:
    stranger.send(ApiKey.SASL_AUTHENTICATE, 2, m.SaslAuthenticateRequest(auth_bytes=b"n,,n=a,r=b"))
    assert stranger.is_closed()


def test_garbage_as_a_token_is_refused_like_a_wrong_password(stranger: Client) -> None:
    stranger.call(ApiKey.SASL_HANDSHAKE, 1, m.SaslHandshakeRequest(mechanism="SCRAM-SHA-256"))
    with pytest.raises(Refused) as refused:
        stranger.token(b"\x00\xff garbage")
    assert refused.value.code == ErrorCode.SASL_AUTHENTICATION_FAILED
    assert stranger.is_closed()


def test_a_token_without_a_handshake_on_a_live_session_is_illegal_and_harmless(admin: Client) -> None:
    token = admin.call(ApiKey.SASL_AUTHENTICATE, 2, m.SaslAuthenticateRequest(auth_bytes=b"n,,n=a,r=b"))
    assert token.error_code == ErrorCode.ILLEGAL_SASL_STATE
    assert admin.metadata().brokers


def test_wire_refuses_an_answer_out_of_order(admin: Client) -> None:
    first = admin.send(ApiKey.METADATA, 12, m.MetadataRequest(topics=[]))
    with pytest.raises(AssertionError, match="instead of"):
        Wire.receive(admin, ApiKey.METADATA, 12, first + 1)
