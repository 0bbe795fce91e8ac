"""Users and access rules through the administration API: plain values in and out.

Passwords go to librdkafka, which sends only the salted hash (KIP-554); nothing here keeps or shows them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
DEFAULT_ITERATIONS = 8192  # Kafka's servers accept 4,096 to 16,384 through this API
SALT_BYTES = 32  # as the broker makes them: a login shows the length of the salt to everybody


@dataclass(frozen=True, slots=True)
class Rule:
    """One access rule in Kafka's words. `resource_type` is topic, group, cluster or transactional-id;
    `pattern` is literal or prefixed; `operation` and `permission` are lower case."""

    principal: str
    host: str
    resource_type: str
    resource: str
    pattern: str
    operation: str
    permission: str


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user and the mechanisms it can log in with, as (name, iterations)."""

    user: str
    mechanisms: tuple[tuple[str, int], ...]


def create_rules(connection: Connection, rules: Sequence[Rule]) -> None:
    """Store rules; one that exists already is no error."""
    bindings = [_binding(rule) for rule in rules]
    for future in connection.admin().create_acls(bindings).values():
        connection.result(future)


def list_rules(connection: Connection, filters: Sequence[dict[str, str]]) -> list[Rule]:
    """The rules that match any of the filters (keys as the fields of Rule, each optional)."""
    _require_describe(connection)
    found: set[Rule] = set()
    for one in filters:
        found.update(map(_rule, connection.result(connection.admin().describe_acls(_filter(one)))))
    return sorted(found, key=_order)


def delete_rules(connection: Connection, filters: Sequence[dict[str, str]]) -> list[Rule]:
    """Remove the rules that match any of the filters and return them."""
    removed: set[Rule] = set()
    for future in connection.admin().delete_acls([_filter(one) for one in filters]).values():
        removed.update(map(_rule, connection.result(future)))
    return sorted(removed, key=_order)


def put_user(
    connection: Connection,
    user: str,
    password: str,
    mechanisms: Sequence[str],
    iterations: int = DEFAULT_ITERATIONS,
) -> None:
    """Create a user or replace its password for these mechanisms."""
    from confluent_kafka.admin import ScramCredentialInfo, UserScramCredentialUpsertion

    alterations: list[Any] = [
        UserScramCredentialUpsertion(
            user, ScramCredentialInfo(_mechanism(name), iterations), password.encode(), os.urandom(SALT_BYTES)
        )
        for name in mechanisms
    ]
    connection.result(connection.admin().alter_user_scram_credentials(alterations)[user], user)


def list_users(connection: Connection) -> list[UserInfo]:
    """Every user with its mechanisms; raises ClientFailed (DENIED)."""
    _require_describe(connection)
    everybody: Any = connection.admin().describe_user_scram_credentials()  # one future for all users
    described = connection.result(everybody)
    return [
        UserInfo(
            user,
            tuple((_mechanism_name(info.mechanism), info.iterations) for info in one.scram_credential_infos),
        )
        for user, one in sorted(described.items())
    ]


def delete_user(connection: Connection, user: str) -> None:
    """Remove every credential of a user; raises ClientFailed (NOT_FOUND) when there is none."""
    from confluent_kafka.admin import UserScramCredentialDeletion

    _require_describe(connection)
    by_user: Any = connection.admin().describe_user_scram_credentials([user])
    described = connection.result(by_user[user], user)
    alterations: list[Any] = [
        UserScramCredentialDeletion(user, info.mechanism) for info in described.scram_credential_infos
    ]
    connection.result(connection.admin().alter_user_scram_credentials(alterations)[user], user)


def _require_describe(connection: Connection) -> None:
    """Ask first whether users and rules may be listed: confluent-kafka 2.16 turns a refused DescribeAcls
    into an empty list, and a refused DescribeUserScramCredentials into a crash when the process ends.
    """
    from confluent_kafka.admin import AclOperation

    future = connection.admin().describe_cluster(include_authorized_operations=True)
    allowed = connection.result(future).authorized_operations  # None when there are none
    if AclOperation.DESCRIBE not in (allowed or ()):
        raise ClientFailed("not authorised to describe the cluster", FailureKind.DENIED)


_RESOURCE_NAMES = {
    "topic": "TOPIC",
    "group": "GROUP",
    "cluster": "BROKER",
    "transactional-id": "TRANSACTIONAL_ID",
}
"""librdkafka calls the cluster resource BROKER."""


def _binding(rule: Rule) -> Any:
    from confluent_kafka.admin import AclBinding

    try:
        return AclBinding(
            _resource_type(rule.resource_type),
            rule.resource,
            _pattern(rule.pattern),
            rule.principal,
            rule.host,
            _operation(rule.operation),
            _permission(rule.permission),
        )
    except ValueError as error:
        raise ClientFailed(str(error)) from None


def _filter(wanted: dict[str, str]) -> Any:
    from confluent_kafka.admin import AclBindingFilter

    make: Any = AclBindingFilter  # its annotations deny that None matches anything
    return make(
        _resource_type(wanted.get("resource_type", "any")),
        wanted.get("resource"),
        _pattern(wanted.get("pattern", "any")),
        wanted.get("principal"),
        wanted.get("host"),
        _operation(wanted.get("operation", "any")),
        _permission(wanted.get("permission", "any")),
    )


def _rule(binding: Any) -> Rule:
    kafka_names = {kafka: name for name, kafka in _RESOURCE_NAMES.items()}
    return Rule(
        binding.principal,
        binding.host,
        kafka_names.get(binding.restype.name, binding.restype.name.lower()),
        binding.name,
        binding.resource_pattern_type.name.lower(),
        binding.operation.name.lower().replace("_", "-"),
        binding.permission_type.name.lower(),
    )


def _order(rule: Rule) -> tuple[str, ...]:
    return (
        rule.principal,
        rule.resource_type,
        rule.resource,
        rule.pattern,
        rule.operation,
        rule.permission,
        rule.host,
    )


def _resource_type(name: str) -> Any:
    from confluent_kafka.admin import ResourceType

    return ResourceType[_RESOURCE_NAMES.get(name, name.upper())]


def _pattern(name: str) -> Any:
    from confluent_kafka.admin import ResourcePatternType

    return ResourcePatternType[name.upper()]


def _operation(name: str) -> Any:
    from confluent_kafka.admin import AclOperation

    return AclOperation[name.upper().replace("-", "_")]


def _permission(name: str) -> Any:
    from confluent_kafka.admin import AclPermissionType

    return AclPermissionType[name.upper()]


def _mechanism(name: str) -> Any:
    from confluent_kafka.admin import ScramMechanism

    return ScramMechanism[name.replace("-", "_")]


def _mechanism_name(mechanism: Any) -> str:
    return str(mechanism.name).replace("_", "-")
