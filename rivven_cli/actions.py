"""The words of access rules on the command line, as `rivven.actions` defines them; refusals are usage errors.

Nothing is asked of a broker here.
"""

from __future__ import annotations

import click

from rivven.actions import ACTIONS, CLUSTER, TYPE_WORDS, WordError
from rivven.actions import operations_for as operations_of_words
from rivven.actions import parse_resource as parse_words

ALL = "*"

RESOURCE_TYPES = ("topic", "group", CLUSTER, "transactional-id")
"""Resource types of access rules that the Kafka library underneath knows."""

PRINCIPAL_TYPES = {"user": "User", "group": "Group", "role": "Role"}

OPERATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    action: {
        kind: tuple(operation.name.lower().replace("_", "-") for operation in by_type[kind])
        for kind in RESOURCE_TYPES
        if kind in by_type
    }
    for action, by_type in ACTIONS.items()
}
"""Action -> resource type -> Kafka operations as the library underneath spells them."""


def operations_for(action: str, resource_type: str) -> tuple[str, ...]:
    """Kafka's operations for an action on a kind of resource; raises UsageError."""
    try:
        operations_of_words(action, resource_type)
    except WordError as error:
        raise click.UsageError(str(error)) from None
    return OPERATIONS[action][resource_type]


def parse_principal(text: str) -> str:
    """``user:alice``, ``group:staff`` or ``role:producer`` as rules name it (``User:alice``); ``user:*`` is
    everybody. Raises UsageError.
    """
    word, colon, name = text.partition(":")
    kind = PRINCIPAL_TYPES.get(word.lower())
    if kind is None or not colon or not name:
        raise click.UsageError(f"A principal is written user:NAME, group:NAME or role:NAME, not {text!r}.")
    if name == ALL and kind != "User":
        raise click.UsageError("Everybody is user:*; there is no wildcard for groups or roles.")
    return f"{kind}:{name}"


def parse_resource(text: str, pattern: str | None = None) -> list[tuple[str, str, str]]:
    """``topic:orders``, ``topic:orders-*`` (prefix), ``topic:*`` (all), ``cluster`` or ``*`` (everything)
    as a list of (type, name, pattern). `pattern` literal takes a trailing * as part of the name. Raises
    UsageError.
    """
    try:
        found = [(TYPE_WORDS[kind], name, how.name.lower()) for kind, name, how in parse_words(text, pattern)]
    except WordError as error:
        raise click.UsageError(str(error)) from None
    known = [one for one in found if one[0] in RESOURCE_TYPES]
    if not known:
        raise click.UsageError(
            f"Access rules are about {', '.join(RESOURCE_TYPES)}; use a role for {text!r}."
        )
    return known
