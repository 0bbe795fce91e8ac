"""Every API, by those who may do nothing and by those who may do exactly one thing.

A user without rights succeeds nowhere and cannot tell what exists from what does not. Then the matrix: every
API against every single permission, compared with the table of what each API checks (kafka.md 2.8).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from rivven.app.broker import Broker
from rivven.config.load import load
from rivven.errors import ErrorCode as E
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.protocol.api import APIS, ApiKey
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.testing.authorizers import DenyAll
from rivven.types import CLUSTER_NAME, Operation, PatternType
from rivven_client.admin import AdminApi
from rivven_client.profile import Profile
from tests.conformance.answers import Names, error_codes
from tests.conformance.calls import CALLS, VALUE
from tests.conformance.checks import (
    AUTHORIZATION_CODES,
    CHECKS,
    CLUSTER,
    G_DELETE,
    G_DESCRIBE,
    G_READ,
    GROUP,
    OF_ONESELF,
    OPEN,
    REMOVES,
    SINGLE_GRANTS,
    T_CREATE,
    T_DESCRIBE,
    T_READ,
    T_WRITE,
    TOPIC,
    Grant,
    first_missing,
)
from tests.conformance.client import Client, fresh
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection


@pytest.fixture(scope="module")
def module_admin(plain: Connection) -> Iterator[Client]:
    with Client(plain) as client:
        yield client


@pytest.fixture(scope="module")
def names(module_admin: Client) -> Names:
    """Names that exist, under a prefix of their own."""
    topic, group = fresh("matrix-topic"), fresh("matrix-group")
    module_admin.create_topic(topic)
    module_admin.produced(topic, VALUE)
    assert module_admin.commit(group, topic, 1, "note") == 0
    return Names(topic, module_admin.topic_id(topic), group, module_admin.create_user().user)


@pytest.fixture(scope="module")
def missing() -> Names:
    """Names that do not exist."""
    return Names(fresh("matrix-topic"), uuid4(), fresh("matrix-group"), fresh("user"))


@pytest.fixture(scope="module")
def nobody(module_admin: Client, plain: Connection) -> Iterator[Client]:
    with Client(plain.as_user(module_admin.create_user())) as client:
        yield client


def anonymised(answer: Any, names: Names) -> str:
    """The answer without the names that were asked for, which it may repeat."""
    said = repr(answer)
    for index, name in enumerate((names.topic, str(names.topic_id), names.group, names.user)):
        said = said.replace(name, f"<{index}>")
    return said


def versions_of(key: ApiKey) -> tuple[int, int]:
    return APIS[key].decodable_from, APIS[key].max


# -- without any right ---------------------------------------------------------------------------------------


def test_the_table_of_checks_covers_every_api() -> None:
    assert set(CHECKS) == set(CALLS)


@pytest.mark.parametrize("key", list(CALLS), ids=lambda key: key.name)
def test_nothing_succeeds_and_nothing_is_revealed(
    nobody: Client, module_admin: Client, names: Names, missing: Names, key: ApiKey
) -> None:
    for version in versions_of(key):
        request = CALLS[key].request
        answer = nobody.call(key, version, request(version, names))
        check_refused(key, answer)
        if key in OPEN | OF_ONESELF:
            continue
        hidden = nobody.call(key, version, request(version, missing))
        # CreateTopics asks for a fresh name each time.
        unequal = key is ApiKey.CREATE_TOPICS
        assert unequal or anonymised(answer, names) == anonymised(hidden, missing)
    assert module_admin.values(names.topic) == [VALUE], "nothing was written"


def check_refused(key: ApiKey, answer: Any) -> None:
    codes = set(error_codes(answer))
    if key in OPEN:
        assert codes <= {E.NONE}
    elif key in OF_ONESELF:
        assert codes <= {E.NONE, E.DELEGATION_TOKEN_NOT_FOUND}
    elif key is ApiKey.LIST_GROUPS:
        assert (codes, answer.groups) == ({E.NONE}, [])
    elif key is ApiKey.DESCRIBE_LOG_DIRS:
        assert answer.results == []
    else:
        assert CHECKS[key][1][0] in codes
        assert codes - {E.NONE} <= AUTHORIZATION_CODES


def test_what_a_user_without_rights_sees_of_the_whole(nobody: Client, names: Names) -> None:
    answer = nobody.call(ApiKey.METADATA, 12, m.MetadataRequest(topics=None))
    assert answer.topics == []
    page = nobody.call(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, m.DescribeTopicPartitionsRequest(topics=[]))
    assert page.topics == []
    offsets = m.OffsetFetchRequest.OffsetFetchRequestGroup(group_id=names.group, topics=None)
    answer = nobody.call(ApiKey.OFFSET_FETCH, 9, m.OffsetFetchRequest(groups=[offsets]))
    assert (answer.groups[0].error_code, answer.groups[0].topics) == (E.GROUP_AUTHORIZATION_FAILED, [])


@pytest.mark.parametrize("key", [ApiKey.METADATA, ApiKey.DELETE_TOPICS], ids=lambda key: key.name)
def test_a_topic_id_one_may_not_describe_looks_like_none(
    nobody: Client, names: Names, missing: Names, key: ApiKey
) -> None:
    def ask(topic_id: UUID) -> str:
        request: Any
        if key is ApiKey.METADATA:
            request = m.MetadataRequest(
                topics=[m.MetadataRequest.MetadataRequestTopic(name=None, topic_id=topic_id)]
            )
        else:
            state = m.DeleteTopicsRequest.DeleteTopicState(topic_id=topic_id)
            request = m.DeleteTopicsRequest(topics=[state], timeout_ms=1000)
        answer = nobody.call(key, APIS[key].max, request)
        assert names.topic not in repr(answer)
        assert set(error_codes(answer)) & {E.UNKNOWN_TOPIC_ID, E.TOPIC_AUTHORIZATION_FAILED}
        return repr(answer).replace(str(topic_id), "<id>")

    assert ask(names.topic_id) == ask(missing.topic_id)


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_denied_records_are_not_written_and_acks_0_closes(
    module_admin: Client, plain: Connection, names: Names, acks: int
) -> None:
    with Client(plain.as_user(module_admin.create_user())) as client:
        request = CALLS[ApiKey.PRODUCE].request(9, names)
        request.acks = acks
        if acks == 0:
            client.send(ApiKey.PRODUCE, 9, request)
            assert client.is_closed()
        else:
            answer = client.call(ApiKey.PRODUCE, 9, request)
            assert set(error_codes(answer)) == {E.TOPIC_AUTHORIZATION_FAILED}
    assert module_admin.values(names.topic) == [VALUE]


# -- with exactly one right, or two --------------------------------------------------------------------------

PAIRS: list[list[Grant]] = [
    [G_READ, T_READ],
    [G_READ, T_DESCRIBE],
    [G_READ, T_WRITE],
    [G_DESCRIBE, T_READ],
    [G_DESCRIBE, T_DESCRIBE],
    [G_DESCRIBE, T_CREATE],
    [G_DELETE, T_READ],
    [G_DELETE, T_DESCRIBE],
]
HELD: list[list[Grant]] = [[one] for one in SINGLE_GRANTS] + PAIRS


def _label(held: list[Grant]) -> str:
    return "+".join(f"{operation.name}-{kind.name}" for kind, operation in held)


PREFIX = {TOPIC: "matrix-topic", GROUP: "matrix-group"}


def by_rules(admin: Client, _broker: ShippedBroker, held: list[Grant]) -> Account:
    """A user whom access rules give these grants, and all rights on another group: they must not help.
    (Rights on some topic do help InitProducerId.)"""
    account = admin.create_user()
    for kind, operation in held:
        if kind is CLUSTER:
            admin.allow(account.user, operation, kind, CLUSTER_NAME)
        else:
            admin.allow(account.user, operation, kind, PREFIX[kind], pattern=PatternType.PREFIXED)
    admin.allow(account.user, Operation.ALL, GROUP, "elsewhere")
    return account


def by_role(admin: Client, broker: ShippedBroker, held: list[Grant]) -> Account:
    """A user to whom a role gives them."""
    account, role = admin.create_user(), _label(held).replace("+", ".")
    settings = broker.connection().librdkafka()
    api = AdminApi(Profile("test", {k: str(v) for k, v in settings.items()}, broker.admin_url()))
    permissions = [
        {
            "resource": "cluster" if kind is CLUSTER else f"{kind.name.lower()}:{PREFIX[kind]}*",
            "actions": [operation.name],
        }
        for kind, operation in held
    ]
    elsewhere = {"resource": "group:elsewhere", "actions": ["*"]}
    api.post("/v1/roles", {"name": role, "permissions": [*permissions, elsewhere]})
    api.post(f"/v1/roles/{role}/members", {"members": [f"user:{account.user}"]})
    return account


def by_policy(admin: Client, _broker: ShippedBroker, held: list[Grant]) -> Account:
    """A user whom the Cedar policies of `extra` give them."""
    return admin.create_user(f"cedar-{_label(held)}")


def policies() -> str:
    """For each list of grants a user and its policies."""
    found = []
    for held in HELD:
        user = f"cedar-{_label(held)}"
        for number, (kind, operation) in enumerate(held):
            action = "".join(word.capitalize() for word in operation.name.split("_"))
            resource = {TOPIC: "Topic", GROUP: "ConsumerGroup", CLUSTER: "Cluster"}[kind]
            named = f' when {{ resource.name like "{PREFIX[kind]}*" }}' if kind in PREFIX else ""
            found.append(
                f'@id("{user}-{number}")\npermit(principal == User::"{user}", action == Action::"{action}",'
                f" resource is {resource}){named};\n"
            )
    return "".join(found)


ENGINES = {"acl": by_rules, "rbac": by_role, "cedar": by_policy}


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Every engine at once: what one of them grants the others have no opinion about."""
    directory = tmp_path_factory.mktemp("policies")
    (directory / "matrix.cedar").write_text(policies())
    return {
        "authorization": {
            "authorizers": list(ENGINES),
            "super_users": ["User:admin"],
            "cedar": {"policy_dir": str(directory)},
        }
    }


@pytest.fixture(scope="module", params=ENGINES)
def holder(
    request: pytest.FixtureRequest,
    module_admin: Client,
    plain: Connection,
    names: Names,
    broker: ShippedBroker,
) -> Iterator[Callable[[list[Grant]], Client]]:
    """Connections of users who hold these grants on every name of the matrix, by one engine."""
    clients: dict[str, Client] = {}

    def connect(held: list[Grant]) -> Client:
        label = _label(held)
        if label not in clients:
            account = ENGINES[request.param](module_admin, broker, held)
            clients[label] = Client(plain.as_user(account))
        return clients[label]

    yield connect
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("held", HELD, ids=_label)
def test_each_api_works_with_exactly_its_permission(
    holder: Callable[[list[Grant]], Client],
    module_admin: Client,
    names: Names,
    missing: Names,
    held: list[Grant],
) -> None:
    client = holder(held)
    # Somebody before may have been allowed to delete it.
    assert module_admin.commit(names.group, names.topic, 1, "note") == 0
    for key, case in CALLS.items():
        for version in versions_of(key):
            about = missing if key in REMOVES else names
            if key is ApiKey.JOIN_GROUP:  # alone in its group, so that nobody has to be waited for
                about = dataclasses.replace(names, group=fresh("matrix-group"))
            answer = client.call(key, version, case.request(version, about))
            expected = first_missing(key, held)
            found = refusal(key, answer, names)
            assert found == expected, f"{key.name} v{version}: {found!r} instead of {expected!r}"


def refusal(key: ApiKey, answer: Any, names: Names) -> E | None:
    """The authorisation error of an answer; for lists, NONE when the name is not in it."""
    if key is ApiKey.LIST_GROUPS:
        return None if names.group in {group.group_id for group in answer.groups} else E.NONE
    if key is ApiKey.DESCRIBE_LOG_DIRS:
        return None if answer.results else E.CLUSTER_AUTHORIZATION_FAILED
    refused = [E(code) for code in error_codes(answer) if code in AUTHORIZATION_CODES]
    return refused[0] if refused else None


def test_rights_on_another_topic_do_not_help(module_admin: Client, plain: Connection, names: Names) -> None:
    account = module_admin.create_user()
    module_admin.allow(account.user, Operation.ALL, TOPIC, names.topic + "x")
    module_admin.allow(account.user, Operation.ALL, TOPIC, names.topic[:-1])
    with Client(plain.as_user(account)) as client:
        for key in (ApiKey.PRODUCE, ApiKey.FETCH, ApiKey.LIST_OFFSETS, ApiKey.METADATA, ApiKey.DELETE_TOPICS):
            answer = client.call(key, APIS[key].max, CALLS[key].request(APIS[key].max, names))
            assert set(error_codes(answer)) - {0} == {E.TOPIC_AUTHORIZATION_FAILED}, key.name


def test_cluster_wide_authorized_operations_need_describe(nobody: Client, module_admin: Client) -> None:
    request = m.DescribeClusterRequest(include_cluster_authorized_operations=True)
    assert nobody.call(ApiKey.DESCRIBE_CLUSTER, 1, request).cluster_authorized_operations == 0
    assert module_admin.call(ApiKey.DESCRIBE_CLUSTER, 1, request).cluster_authorized_operations > 0


def test_returned_settings_of_a_new_topic_need_describe_configs(
    module_admin: Client, plain: Connection
) -> None:
    account = module_admin.create_user()
    module_admin.allow(account.user, Operation.CREATE, CLUSTER, CLUSTER_NAME)
    with Client(plain.as_user(account)) as client:
        entry = client.try_create_topic(fresh("made"))
        assert entry.error_code == 0
        assert entry.topic_config_error_code == E.TOPIC_AUTHORIZATION_FAILED
        assert entry.configs in (None, [])
        assert (entry.num_partitions, entry.replication_factor) == (-1, -1)


def test_a_denied_topic_beside_an_allowed_one(module_admin: Client, plain: Connection, names: Names) -> None:
    """Each gets its own answer; the allowed one is really done."""
    mine = module_admin.create_topic(fresh("mine"))
    account = module_admin.create_user()
    module_admin.allow(account.user, Operation.WRITE, TOPIC, mine)
    request = CALLS[ApiKey.PRODUCE].request(9, names)
    more = CALLS[ApiKey.PRODUCE].request(9, dataclasses.replace(names, topic=mine))
    request.topic_data += more.topic_data
    with Client(plain.as_user(account)) as client:
        answer = client.call(ApiKey.PRODUCE, 9, request)
    found = {topic.name: topic.partition_responses[0].error_code for topic in answer.responses}
    assert found == {names.topic: E.TOPIC_AUTHORIZATION_FAILED, mine: 0}
    assert module_admin.values(mine) == [VALUE]


# -- the whole table under an authorizer that denies everybody -----------------------------------------------


class Sealed(Broker):
    """The shipped composition with an authorizer that allows nobody anything, super users included."""

    def _authorization(self, metadata: MetadataService, roles: RoleDirectory) -> AuthorizerChain:
        return AuthorizerChain({"deny": DenyAll()})


async def test_every_api_under_deny_all(own_directory: Path, missing: Names) -> None:
    shipped = ShippedBroker(own_directory, protocols=("sasl_plaintext",))
    shipped.init()
    broker = Sealed(load(shipped.config_path, {}))
    await broker.start()
    try:
        address = next(iter(broker.ready_facts()["listeners"].values()))  # type: ignore[attr-defined]
        await asyncio.to_thread(_sweep, Connection(address, None, shipped.admin), missing)
    finally:
        assert await broker.drain(10)
        await broker.close()


def _sweep(connection: Connection, missing: Names) -> None:
    assert isinstance(connection.account, Account)
    with Client(connection) as client:
        for key, case in CALLS.items():
            for version in range(APIS[key].decodable_from, APIS[key].max + 1):
                check_refused(key, client.call(key, version, case.request(version, missing)))
