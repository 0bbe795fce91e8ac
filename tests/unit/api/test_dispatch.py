"""The only door: authentication before anything, rules before handlers, one answer for what goes wrong."""

import logging

import pytest

from rivven.api.dispatch import Call, Dispatch, NotAuthenticated
from rivven.api.rules import Filter, Open, Require, Split, keep_list, list_items
from rivven.api.session import ListenerInfo, Session
from rivven.api.table import Row, Table
from rivven.clock import SystemClock
from rivven.errors import ErrorCode, UnknownTopicOrPartition
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.codec import (
    RequestHeader,
    parse_response,
    parse_response_header,
    request_header_bytes,
    write_request,
)
from rivven.protocol.exceptions import ProtocolError, UnsupportedApi
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import Operation, Principal, ResourceType

LISTENER = ListenerInfo("test", tls=False, sasl=False, advertised_host="h", advertised_port=1)
_Deleted = m.DeleteRecordsResponse.DeleteRecordsTopicResult


class Observer:
    def __init__(self) -> None:
        self.denials: list[int] = []
        self.failures: list[int] = []

    def denied(self, api_key: int) -> None:
        self.denials.append(api_key)

    def failed(self, api_key: int) -> None:
        self.failures.append(api_key)


class OnlyTopic:
    """Allows everything on one topic and nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name

    def authorize(self, subject, actions):
        allow, deny = AllowAll(), DenyAll()
        return [
            (allow if action.resource_name == self._name else deny).authorize(subject, [action])[0]
            for action in actions
        ]

    def authorize_any(self, subject, operation, resource_type):
        return DenyAll().authorize_any(subject, operation, resource_type)


def frame(api: ApiKey, version: int, request, correlation: int = 7) -> memoryview:
    header = request_header_bytes(RequestHeader(api, version, correlation, "client"))
    return memoryview(bytearray(header + write_request(api, version, request)))


def session(principal: str | None = "User:alice") -> Session:
    made = Session(LISTENER, "127.0.0.1", None)
    if principal is not None:
        made.become(Authenticated(Principal.parse(principal)), "PLAIN")
    return made


async def raw_token(session, token):
    return [b"token"]


def dispatch(row: Row, authorizer=None) -> tuple[Dispatch, Observer]:
    observer = Observer()
    made = Dispatch(
        Table([row]), AuthorizerChain({"test": authorizer or AllowAll()}), SystemClock(), observer, raw_token
    )
    return made, observer


def decode(api: ApiKey, version: int, buffers):
    data = b"".join(buffers)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    correlation, position = parse_response_header(api, version, data[4:])
    return correlation, parse_response(api, version, data[4:], position)


def delete_records_row(handler) -> Row:
    def deny(response, item, version, code):
        response.topics.append(_Deleted(name=item.name, partitions=[]))
        response.throttle_time_ms = int(code)

    return Row(
        ApiKey.DELETE_RECORDS,
        (
            Split(
                Operation.DELETE,
                ResourceType.TOPIC,
                items=list_items("topics", "name"),
                keep=keep_list("topics"),
                deny=deny,
            ),
        ),
        handler,
    )


def heartbeat_row(handler) -> Row:
    def denied(request, version, code):
        return m.HeartbeatResponse(error_code=code)

    rule = Require(Operation.READ, ResourceType.GROUP, denied=denied, name=lambda request: request.group_id)
    return Row(ApiKey.HEARTBEAT, (rule,), handler)


async def never(context, request):
    raise AssertionError("the handler must not run")


async def test_a_request_without_an_identity_closes_the_connection() -> None:
    made, _ = dispatch(heartbeat_row(never))
    with pytest.raises(NotAuthenticated):
        made.accept(session(None), frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="g")))


async def test_an_expired_session_closes_at_the_next_request() -> None:
    made, _ = dispatch(heartbeat_row(never))
    expired = session()
    expired.expires_at_ms = 1
    with pytest.raises(NotAuthenticated, match="expired"):
        made.accept(expired, frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="g")))


@pytest.mark.parametrize(("api", "version"), [(ApiKey.METADATA, 9), (99, 0), (ApiKey.HEARTBEAT, 5)])
async def test_unknown_keys_and_versions_close(api: int, version: int) -> None:
    made, _ = dispatch(heartbeat_row(never))
    data = memoryview(bytearray(api.to_bytes(2, "big") + version.to_bytes(2, "big") + bytes(20)))
    with pytest.raises(UnsupportedApi):
        made.accept(session(), data)


async def test_a_malformed_body_closes() -> None:
    made, _ = dispatch(heartbeat_row(never))
    whole = frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="group"))
    with pytest.raises(ProtocolError):
        made.accept(session(), whole[:-3])


async def test_api_versions_above_ours_is_answered_in_version_0() -> None:
    async def versions(context, request):
        return m.ApiVersionsResponse()

    row = Row(ApiKey.API_VERSIONS, (Open(),), versions, failed=lambda *a: m.ApiVersionsResponse())
    made, _ = dispatch(row)
    header = ApiKey.API_VERSIONS.to_bytes(2, "big") + (99).to_bytes(2, "big") + (5).to_bytes(4, "big")
    answer = made.accept(session(None), memoryview(bytearray(header + b"\xff" * 30)))
    assert not isinstance(answer, Call)
    correlation, response = decode(ApiKey.API_VERSIONS, 0, answer)
    assert correlation == 5
    assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(key.api_key, key.min_version) for key in response.api_keys] == [(18, 0)]


async def test_a_denied_whole_request_never_reaches_its_handler() -> None:
    made, observer = dispatch(heartbeat_row(never), DenyAll())
    call = made.accept(session(), frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="g")))
    _, response = decode(ApiKey.HEARTBEAT, 4, made.encode(call, await made.perform(call)))
    assert response.error_code == ErrorCode.GROUP_AUTHORIZATION_FAILED
    assert observer.denials == [ApiKey.HEARTBEAT]


async def test_denied_items_are_taken_out_before_and_answered_after() -> None:
    seen: list[str] = []

    async def handler(context, request):
        seen.extend(topic.name for topic in request.topics)
        return m.DeleteRecordsResponse(topics=[_Deleted(name=name, partitions=[]) for name in seen])

    made, observer = dispatch(delete_records_row(handler), OnlyTopic("mine"))
    topic = m.DeleteRecordsRequest.DeleteRecordsTopic
    request = m.DeleteRecordsRequest(topics=[topic(name="theirs"), topic(name="mine")])
    call = made.accept(session(), frame(ApiKey.DELETE_RECORDS, 2, request))
    _, response = decode(ApiKey.DELETE_RECORDS, 2, made.encode(call, await made.perform(call)))
    assert seen == ["mine"]
    assert [one.name for one in response.topics] == ["mine", "theirs"]
    assert response.throttle_time_ms == ErrorCode.TOPIC_AUTHORIZATION_FAILED
    assert observer.denials == [ApiKey.DELETE_RECORDS]


async def test_a_known_failure_becomes_the_answer_of_the_api() -> None:
    async def handler(context, request):
        raise UnknownTopicOrPartition("no")

    made, observer = dispatch(heartbeat_row(handler))
    call = made.accept(session(), frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="g")))
    assert (await made.perform(call)).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert not observer.failures


async def test_an_unexpected_error_is_logged_once_and_answered_without_detail(caplog) -> None:
    async def handler(context, request):
        raise RuntimeError("secret detail")

    made, observer = dispatch(heartbeat_row(handler))
    call = made.accept(session(), frame(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id="g")))
    with caplog.at_level(logging.ERROR):
        response = await made.perform(call)
    assert response == m.HeartbeatResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR)
    assert b"secret" not in b"".join(made.encode(call, response))
    assert observer.failures == [ApiKey.HEARTBEAT]
    assert "unexpected error in HEARTBEAT" in caplog.text


async def test_a_filter_handler_that_asks_nobody_fails_its_request(caplog) -> None:
    async def careless(context, request):
        return m.MetadataResponse(cluster_id="leak")

    def failed(request, version, code):
        return m.MetadataResponse(error_code=code)

    made, _ = dispatch(Row(ApiKey.METADATA, (Filter(),), careless, failed=failed))
    call = made.accept(session(), frame(ApiKey.METADATA, 13, m.MetadataRequest(topics=None)))
    with caplog.at_level(logging.ERROR):
        response = await made.perform(call)
    assert response.cluster_id is None
    assert response.error_code == ErrorCode.UNKNOWN_SERVER_ERROR
