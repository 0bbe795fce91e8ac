"""The sections about policies and candidates: what contradicts itself is refused with its key."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.load import validate
from rivven.config.problems import ConfigError

LISTENER = {"name": "main", "bind": "127.0.0.1:0", "protocol": "sasl_plaintext"}
DIRECTORY = {"policy_dir": "/etc/rivven/policies"}


def authorization(**section: Any) -> Any:
    return validate({"listeners": [LISTENER], "authorization": section}, "test").authorization


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"authorizers": ["cedar"]}, "cedar.policy_dir: is required"),
        ({"cedar": DIRECTORY}, "cedar.policy_dir: has no effect"),
        ({"shadow": {"authorizers": ["cedar"]}}, "shadow.cedar.policy_dir: is required"),
        ({"shadow": {"cedar": DIRECTORY}}, "shadow.cedar.policy_dir: has no effect"),
        ({"authorizers": ["rbac"], "shadow": {"acl": {"file": "x"}}}, "shadow.acl.file: has no effect"),
        ({"shadow": {"super_users": ["alice"]}}, "'alice' is not of the form User:name"),
        ({"shadow": {"authorizers": []}}, "shadow.authorizers"),
        ({"authorizers": ["cedar"], "cedar": {**DIRECTORY, "policydir": "x"}}, "did you mean policy_dir?"),
    ],
)
def test_refusals(section: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        authorization(**section)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("shadow", "given"),
    [
        ({}, False),
        ({"authorizers": ["acl"]}, True),
        ({"super_users": []}, True),
        ({"allow_everyone_if_no_acl_found": False}, True),
        ({"rbac": {"file": "/etc/rivven/rbac.yaml"}}, True),
        ({"acl": {"file": "/etc/rivven/acl.json"}}, True),
        ({"authorizers": ["cedar"], "cedar": DIRECTORY}, True),
    ],
)
def test_a_candidate_is_there_when_something_of_it_is_given(shadow: dict[str, Any], given: bool) -> None:
    assert authorization(shadow=shadow).shadow.given is given


def test_a_candidate_may_use_policies_that_decide_or_that_are_only_tried() -> None:
    both = authorization(authorizers=["acl", "cedar"], cedar=DIRECTORY, shadow={"authorizers": ["cedar"]})
    assert both.shadow.cedar.policy_dir is None
    tried = authorization(cedar=DIRECTORY, shadow={"authorizers": ["cedar"]})
    assert str(tried.cedar.policy_dir) == "/etc/rivven/policies"


def test_super_users_of_a_candidate_are_spelled_as_kafka_does() -> None:
    assert authorization(shadow={"super_users": ["user:a"]}).shadow.super_users == ["User:a"]
