"""How Kafka's words are called in policies, and the schema policies are validated against.

Pure. Actions are Kafka's operations in camel case (``Action::"DescribeConfigs"``), resources its resource
types. The schema is made from the table of valid operations, so that an operation added there is known here.
"""

from __future__ import annotations

from collections.abc import Mapping

from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import Operation, ResourceType

ENGINE = "cedar"

USER, GROUP, ROLE, ACTION = "User", "Group", "Role", "Action"

RESOURCES: Mapping[ResourceType, str] = {
    ResourceType.TOPIC: "Topic",
    ResourceType.GROUP: "ConsumerGroup",
    ResourceType.CLUSTER: "Cluster",
    ResourceType.TRANSACTIONAL_ID: "TransactionalId",
    ResourceType.DELEGATION_TOKEN: "Token",
    ResourceType.USER: USER,
}
"""Entity type of each resource type. The cluster's only id is ``kafka-cluster``."""

ACTIONS: Mapping[Operation, str] = {
    operation: "".join(word.capitalize() for word in operation.name.split("_"))
    for operation in Operation
    if operation > Operation.ALL
}
"""Action name of each operation."""

CONTEXT: Mapping[str, str] = {
    "address": "ipaddr",
    "listener": "String",
    "mechanism": "String",
    "tls": "Bool",
    "client_id": "String",
    "hour": "Long",
    "weekday": "Long",
}
"""What is known about a request beside principal, action and resource, with its Cedar type.

`hour` is 0-23 and `weekday` 1 (Monday) to 7, both UTC; `client_id` is whatever the client calls itself.
"""

OF_TIME = frozenset({"hour", "weekday"})
"""Attributes of the context that change while a session stays the same."""

IMPLYING: Mapping[Operation, tuple[Operation, ...]] = {
    Operation.DESCRIBE: (Operation.WRITE, Operation.READ, Operation.DELETE, Operation.ALTER),
    Operation.DESCRIBE_CONFIGS: (Operation.ALTER_CONFIGS,),
}
"""Operations whose permission carries the key with it, as in Kafka; forbidding one does not."""

_TYPES = """\
// The types Rivven's policies are validated against. Actions are Kafka's operations.
entity Tenant;
entity Role;
entity Group in [Role];
entity User in [Group, Role, Tenant] {
  name: String,
  scope?: Set<String>,
};
entity Topic in [Tenant] { name: String };
entity ConsumerGroup in [Tenant] { name: String };
entity TransactionalId in [Tenant] { name: String };
entity Token in [Tenant] { name: String };
entity Cluster;
"""


def schema_text() -> str:
    """The shipped schema in Cedar's syntax."""
    context = ",\n".join(f"  {name}: {kind}" for name, kind in CONTEXT.items())
    lines = [_TYPES, f"type Request = {{\n{context},\n}};\n"]
    for operation, action in ACTIONS.items():
        types = [RESOURCES[kind] for kind in RESOURCES if operation in VALID_OPERATIONS[kind]]
        if types:
            lines.append(
                f'action "{action}" appliesTo {{\n'
                f"  principal: {USER}, resource: [{', '.join(types)}], context: Request,\n}};\n"
            )
    return "\n".join(lines)


def is_valid(operation: Operation, resource_type: ResourceType) -> bool:
    """Whether policies can speak about the operation on the type at all."""
    return operation in VALID_OPERATIONS.get(resource_type, ())
