"""The one door to the optional package `cedarpy`, opened when policies are first needed.

Everything handed over and returned is text or an opaque handle. It must not decide anything.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

EXTRA = "cedar"


class CedarMissing(Exception):
    """The package is not installed; one line that names the extra to install."""


class CedarRefused(Exception):
    """Cedar did not accept a text; its reason in one line."""


@cache
def cedarpy() -> Any:
    """The package. Raises CedarMissing."""
    try:
        return importlib.import_module("cedarpy")
    except ImportError as error:
        raise CedarMissing(
            f"the authorizer cedar needs a package: {error}; install rivven[{EXTRA}]"
        ) from None


def parse_schema(text: str) -> Any:
    """A schema handle from Cedar's schema syntax. Raises CedarRefused."""
    try:
        return cedarpy().Schema.from_str(text, release_gil=True)
    except ValueError as error:
        raise CedarRefused(one_line(error)) from None


def parse_policy(text: str) -> dict[str, Any]:
    """One policy statement as Cedar's JSON form of it. Raises CedarRefused; slots are refused too."""
    try:
        parsed = json.loads(cedarpy().policies_to_json_str(text))
    except ValueError as error:
        raise CedarRefused(one_line(error)) from None
    if parsed["templates"]:
        raise CedarRefused("a template with ?principal or ?resource; nothing here fills its slots")
    (policy,) = parsed["staticPolicies"].values()
    return dict(policy)


def count_policies(text: str) -> int:
    """How many policies Cedar's own parser finds in a file. Raises CedarRefused."""
    try:
        parsed = json.loads(cedarpy().policies_to_json_str(text))
    except ValueError as error:
        raise CedarRefused(one_line(error)) from None
    return len(parsed["staticPolicies"]) + len(parsed["templates"])


def compile_policies(policies: Mapping[str, Mapping[str, Any]]) -> Any:
    """A handle that evaluates the policies (JSON form by the id they report). Raises CedarRefused."""
    document = {"staticPolicies": policies, "templates": {}, "templateLinks": []}
    try:
        return cedarpy().PolicySet.from_json_str(json.dumps(document), release_gil=True)
    except ValueError as error:
        raise CedarRefused(one_line(error)) from None


def validate(statements: Iterable[str], schema: Any) -> list[tuple[str, str]]:
    """What Cedar's strict validation objects to, as (@id or empty, reason)."""
    result = cedarpy().validate_policies("\n".join(statements), schema, release_gil=True)
    ids = result.id_annotations_by_policy_id
    found = []
    for error in result.errors:
        reason = one_line(error.error)
        own = f"for policy `{error.policy_id}`, "
        found.append((ids.get(error.policy_id, ""), reason.removeprefix(own)))
    if not result.validation_passed and not found:
        found.append(("", "the policies do not validate"))
    return found


def action_entities(schema: Any) -> list[dict[str, Any]]:
    """The actions a schema declares, with their groups, as entities."""
    known = json.loads(str(cedarpy().Entities.from_json_str("[]", schema)))
    return [entity for entity in known if entity["uid"]["type"].split("::")[-1] == "Action"]


def parse_entities(entities: list[dict[str, Any]]) -> Any:
    """A handle of an entity graph; `with_added_json_str` adds to a copy. Raises ValueError."""
    return cedarpy().Entities.from_json_str(as_json(entities))


def as_json(entities: list[dict[str, Any]]) -> str:
    """Entities as the text the handle takes."""
    return json.dumps(entities)


def ask(policies: Any, request: dict[str, Any], entities: Any) -> tuple[bool, list[str], list[str]]:
    """One question: (allowed, ids of the determining policies, errors). Raises ValueError."""
    answer = cedarpy().is_authorized(request, policies, entities)
    diagnostics = answer.diagnostics
    return answer.allowed, diagnostics.reasons, diagnostics.errors


def one_line(error: object) -> str:
    """Text of a foreign error without line breaks."""
    return " ".join(str(error).split())
