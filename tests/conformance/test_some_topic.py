"""'Write on some topic' (KIP-679) through every set of engines: who has one grant may have a producer id and
write that topic, whichever engine gives it; one engine's denial of all topics closes them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, Permission, ResourceType
from tests.conformance.client import Client, batch
from tests.conformance.conftest import PLAIN
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account

ENGINES = ("acl", "rbac", "cedar")
SETS = [chosen for size in (1, 2, 3) for chosen in combinations(ENGINES, size)]
GRANTED = {engine: f"by-{engine}" for engine in ENGINES}
"""Who may write the topic `mine`, by one engine only."""
CLOSED = {"acl": "closed-by-acl", "cedar": "closed-by-cedar"}
"""Who may write it by every engine, and is denied all topics by one."""
PASSWORD = "Pass-word 42!"
EVERYBODY = [*GRANTED.values(), *CLOSED.values()]

ROLES = {
    "roles": {"writer": {"permissions": [{"resource": "topic:mine", "actions": ["produce"]}]}},
    "bindings": {"writer": {"users": [GRANTED["rbac"], *CLOSED.values()]}},
}
_WRITE = 'action == Action::"Write"'
POLICIES = "".join(
    f'@id("{user}") permit(principal == User::"{user}", {_WRITE}, resource == Topic::"mine");\n'
    for user in (GRANTED["cedar"], *CLOSED.values())
)
POLICIES += f'@id("closed") forbid(principal == User::"{CLOSED["cedar"]}", {_WRITE}, resource is Topic);'


@pytest.fixture(scope="module", params=SETS, ids="+".join)
def engines(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, engines: tuple[str, ...]) -> Iterator[ShippedBroker]:
    """A broker with these engines; every engine's grants exist, whether it is asked or not."""
    directory = tmp_path_factory.mktemp("engines")
    (directory / "rbac.yaml").write_text(json.dumps(ROLES))
    policies = directory / "policies"
    policies.mkdir()
    (policies / "all.cedar").write_text(POLICIES)
    authorization: dict[str, object] = {"authorizers": list(engines), "super_users": ["User:admin"]}
    if "cedar" in engines:
        authorization["cedar"] = {"policy_dir": str(policies)}
    authorization["rbac"] = {"file": str(directory / "rbac.yaml")}
    with ShippedBroker(
        directory / "broker", protocols=(PLAIN,), extra={"authorization": authorization}
    ) as made:
        with Client(made.connection(PLAIN)) as admin:
            _prepare(admin, with_rules="acl" in engines)
        yield made


def _prepare(admin: Client, *, with_rules: bool) -> None:
    """Topic, users, and rules where a broker that asks no ACLs does not refuse to store them."""
    admin.create_topic("mine")
    for user in EVERYBODY:
        admin.create_user(user, PASSWORD)
    if not with_rules:
        return
    for user in (GRANTED["acl"], *CLOSED.values()):
        admin.allow(user, Operation.WRITE, ResourceType.TOPIC, "mine")
    admin.allow(CLOSED["acl"], Operation.WRITE, ResourceType.TOPIC, "*", permission=Permission.DENY)


@pytest.mark.parametrize("user", EVERYBODY)
def test_a_producer_id_and_its_first_batch(
    broker: ShippedBroker, engines: tuple[str, ...], user: str
) -> None:
    if user in GRANTED.values():
        allowed = user.removeprefix("by-") in engines
    else:
        allowed = user.removeprefix("closed-by-") not in engines
    request = m.InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
    with Client(broker.connection(PLAIN).as_user(Account(user, PASSWORD))) as client:
        answer = client.call(ApiKey.INIT_PRODUCER_ID, 4, request)
        written = client.produce("mine", batch(b"value"))
    if allowed:
        assert answer.error_code == 0
        assert written.error_code == 0
    else:
        assert answer.error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        assert written.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
