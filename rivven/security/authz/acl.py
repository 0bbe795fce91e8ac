"""Kafka's ACLs as an `Authorizer` (KIP-11, KIP-290; the answers of Kafka 4's own authorizer).

Beyond Kafka, rules may name a group (``Group:staff``) or a role (``Role:producer``) as their principal. A
resource about which no rule exists follows `allow_everyone_if_no_acl_found`. Super users are the chain's
business, the order of rules is `rule_book`'s.

Answers are kept per (subject, resource) until the version of the rules or of anybody's roles changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.security.authz.roles import Memberships, NoRoles, roles_of_subject
from rivven.security.authz.rule_book import RuleBook, RuleSource, View
from rivven.types import AclBinding, Operation, PatternType, ResourceType

ENGINE = "acl"

AclSource = RuleSource


def describe_rule(rule: AclBinding) -> str:
    """One rule in words, for operators."""
    pattern = "prefixed " if rule.pattern_type is PatternType.PREFIXED else ""
    return (
        f"{rule.permission.name} {rule.operation.name} on {rule.resource_type.name} "
        f"{pattern}{rule.resource_name!r} for {rule.principal} from {rule.host}"
    )


class AclAuthorizer:
    """Decides by stored ACL rules."""

    steady = True

    def __init__(
        self,
        source: AclSource,
        roles: Memberships | None = None,
        *,
        allow_everyone_if_no_acl_found: bool = False,
    ) -> None:
        self.book = RuleBook(
            ENGINE, source, _words, allow_everyone_if_no_acl_found=allow_everyone_if_no_acl_found
        )
        self._roles: Memberships = roles or NoRoles()
        self._roles_version = self._roles.version

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        view = self.view(subject)
        return [view.decide(action) for action in actions]

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether some name of the type could be allowed (KIP-679)."""
        return self.book.decide_any(self.view(subject), operation, resource_type)

    def denials(self, subject: Subject, action: Action) -> list[Decision]:
        """Every rule that refuses the action, as its decision."""
        return self.book.denials(self.view(subject), action)

    def view(self, subject: Subject) -> View:
        """The rules as they concern the subject now."""
        book = self.book
        book.refresh()
        version = self._roles.version
        if version != self._roles_version:
            self._roles_version = version
            book.forget()
        view = book.views.get(subject.key)
        return self._new_view(subject) if view is None else view

    def _new_view(self, subject: Subject) -> View:
        """``User:*``, everybody, is added by the index."""
        groups = [f"Group:{group}" for group in subject.groups]
        roles = [f"Role:{role}" for role in roles_of_subject(self._roles, subject)]
        return self.book.view(subject.key, (subject.key[0], *groups, *roles), subject.host)


def _words(rule: AclBinding) -> tuple[str, str]:
    words = describe_rule(rule)
    return words, words
