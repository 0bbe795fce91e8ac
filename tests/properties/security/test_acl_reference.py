"""The indexed ACL authorizer against a naive one that reads every rule for every question."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Subject, Verdict
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

DESCRIBERS = {Operation.DESCRIBE, Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}
CONFIG_DESCRIBERS = {Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS}
HOSTS = ["10.0.0.1", "10.0.0.2", "::1", "0:0:0:0:0:0:0:1", "::ffff:10.0.0.1", "2001:db8::1"]
NAMES = ["a", "ab", "abc", "b", "abcd", "ba"]
OPERATIONS = [op for op in Operation if op > Operation.ALL]
KINDS = [ResourceType.TOPIC, ResourceType.GROUP]

rules = st.builds(
    AclBinding,
    st.sampled_from(KINDS),
    st.sampled_from([*NAMES, "*"]),
    st.sampled_from([PatternType.LITERAL, PatternType.PREFIXED]),
    st.sampled_from(["User:x", "User:y", "User:*", "Group:g"]),
    st.sampled_from(["*", *HOSTS]),
    st.sampled_from([Operation.ALL, *OPERATIONS[:9]]),
    st.sampled_from([Permission.ALLOW, Permission.DENY]),
)
subjects = st.builds(
    Subject,
    st.sampled_from([Principal("User", "x"), Principal("User", "y"), Principal("Other", "x")]),
    st.sampled_from(HOSTS),
    st.just("main"),
    st.sampled_from([(), ("g",), ("g", "h")]),
)


def _same_host(rule: str, host: str) -> bool:
    def address(text: str) -> object:
        parsed = ipaddress.ip_address(text)
        return getattr(parsed, "ipv4_mapped", None) or parsed

    return rule == "*" or address(rule) == address(host)


def _names_it(rule: AclBinding, kind: ResourceType, name: str) -> bool:
    if rule.resource_type != kind:
        return False
    if rule.pattern_type is PatternType.PREFIXED:
        return name.startswith(rule.resource_name)
    return rule.resource_name in (name, "*")


def _operation_matches(rule: AclBinding, operation: Operation) -> bool:
    if rule.operation in (Operation.ALL, operation):
        return True
    if rule.permission is Permission.DENY:
        return False
    if operation is Operation.DESCRIBE:
        return rule.operation in DESCRIBERS
    return operation is Operation.DESCRIBE_CONFIGS and rule.operation in CONFIG_DESCRIBERS


def reference(
    stored: list[AclBinding],
    everyone: bool,
    subject: Subject,
    operation: Operation,
    kind: ResourceType,
    name: str,
) -> bool:
    principals = {str(subject.principal), "User:*", *(f"Group:{group}" for group in subject.groups)}
    about = [rule for rule in stored if _names_it(rule, kind, name)]
    matching = [
        rule
        for rule in about
        if rule.principal in principals
        and _same_host(rule.host, subject.host)
        and _operation_matches(rule, operation)
    ]
    if any(rule.permission is Permission.DENY for rule in matching):
        return False
    if any(rule.permission is Permission.ALLOW for rule in matching):
        return True
    return everyone and not about


@settings(max_examples=400, deadline=None)
@given(
    st.lists(rules, max_size=14),
    st.booleans(),
    st.lists(
        st.tuples(subjects, st.sampled_from(OPERATIONS), st.sampled_from(KINDS), st.sampled_from(NAMES)),
        min_size=1,
        max_size=12,
    ),
)
def test_every_answer_is_the_naive_one(
    stored: list[AclBinding],
    everyone: bool,
    questions: list[tuple[Subject, Operation, ResourceType, str]],
) -> None:
    authorizer = AclAuthorizer(lambda: (1, stored), allow_everyone_if_no_acl_found=everyone)
    for subject, operation, kind, name in questions * 2:
        (decision,) = authorizer.authorize(subject, [Action(operation, kind, name)])
        assert decision.allowed is reference(stored, everyone, subject, operation, kind, name)
        assert decision.allowed is (decision.verdict is Verdict.ALLOW)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(rules, max_size=10),
    st.booleans(),
    subjects,
    st.sampled_from(OPERATIONS[:9]),
    st.sampled_from(KINDS),
)
def test_any_is_allowed_exactly_if_some_name_is(
    stored: list[AclBinding], everyone: bool, subject: Subject, operation: Operation, kind: ResourceType
) -> None:
    # Names that no rule mentions stand for the infinitely many others: fresh ones, and one below each prefix.
    candidates = [*NAMES, "*", "zzz", *(f"{name}~" for name in [*NAMES, "*"])]
    authorizer = AclAuthorizer(lambda: (1, stored), allow_everyone_if_no_acl_found=everyone)
    some = any(reference(stored, everyone, subject, operation, kind, name) for name in candidates)
    assert authorizer.authorize_any(subject, operation, kind).allowed is some


@settings(max_examples=200, deadline=None)
@given(st.lists(rules, max_size=12), subjects, st.sampled_from(KINDS), st.sampled_from(NAMES))
def test_authorized_operations_are_the_single_answers(
    stored: list[AclBinding], subject: Subject, kind: ResourceType, name: str
) -> None:
    access = Access(subject, AuthorizerChain({"acl": AclAuthorizer(lambda: (1, stored))}))
    expected = sum(1 << op for op in VALID_OPERATIONS[kind] if access.allowed(op, kind, name))
    assert access.authorized_operations(kind, name) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(rules, max_size=8), min_size=2, max_size=4), subjects, st.sampled_from(NAMES))
def test_a_new_version_replaces_every_remembered_answer(
    versions: list[list[AclBinding]], subject: Subject, name: str
) -> None:
    current = [0]
    authorizer = AclAuthorizer(lambda: (current[0], versions[current[0]]))
    for number, stored in enumerate(versions):
        current[0] = number
        for kind in KINDS:
            (decision,) = authorizer.authorize(subject, [Action(Operation.READ, kind, name)])
            assert decision.allowed is reference(stored, False, subject, Operation.READ, kind, name)
