"""Roles as an `Authorizer`, and the scopes of tokens, which are written in the same words.

Roles only allow. A subject is asked about its own roles only, so the roles of others cost nothing. A scope
is a ceiling: it takes away and never gives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from rivven.actions import Permit, WordError, check_role_name, grants_of, pattern_text
from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.security.authz.chain import SCOPE
from rivven.security.authz.roles import RoleDirectory, roles_of_subject, rules_of
from rivven.security.authz.rule_book import RuleBook, View
from rivven.types import AclBinding, Operation, ResourceType

ENGINE = "rbac"

SCOPE_ENTRIES_MAX = 100
"""Entries of one scope: it is part of a token and of every cache key about it."""

SCOPES_MAX = 1_024
"""Compiled scopes kept; the one not used for longest goes first."""

_ROLE = "role:"
_ANYWHERE = ""


class RbacAuthorizer:
    """Decides by the roles of a subject."""

    steady = True

    def __init__(self, roles: RoleDirectory) -> None:
        self._roles = roles
        self.book = RuleBook(ENGINE, roles.rules, self._words)
        self._roles_version = -1

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        view = self.view(subject)
        return [view.decide(action) for action in actions]

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether some name of the type could be allowed (KIP-679)."""
        return self.book.decide_any(self.view(subject), operation, resource_type)

    def view(self, subject: Subject) -> View:
        """The subject's roles as they are now."""
        book = self.book
        version = self._roles.version
        if version != self._roles_version:  # rules of roles never change without it
            self._roles_version = version
            book.refresh()
            book.forget()
        view = book.views.get(subject.key)
        if view is None:
            roles = tuple(f"Role:{role}" for role in roles_of_subject(self._roles, subject))
            view = book.view(subject.key, roles, subject.host)
        return view

    def _words(self, rule: AclBinding) -> tuple[str, str]:
        return role_words(rule, self._roles.place(rule))


def role_words(rule: AclBinding, place: str) -> tuple[str, str]:
    """A rule of a role as (reason, id)."""
    role = rule.principal.removeprefix("Role:")
    what = pattern_text(rule.resource_type, rule.resource_name, rule.pattern_type)
    where = f" ({place})" if place else ""
    return f"role {role} allows {rule.operation.name} on {what}{where}", f"role:{role}{where}"


def parse_scope(entries: Iterable[str]) -> tuple[str, ...]:
    """The entries of a scope, checked: ``role:NAME`` or ``RESOURCE:ACTION,ACTION``, such as
    ``topic:orders-*:produce,describe``, ``cluster:describe``, ``*:describe``. Raises WordError.
    """
    found = tuple(dict.fromkeys(entries))
    if len(found) > SCOPE_ENTRIES_MAX:
        raise WordError(f"A scope has at most {SCOPE_ENTRIES_MAX} entries.")
    for entry in found:
        _parse_entry(entry)
    return found


def _parse_entry(entry: str) -> str | Permit:
    """The name of a role, or a permission."""
    if entry.startswith(_ROLE):
        return check_role_name(entry.removeprefix(_ROLE))
    resource, colon, actions = entry.rpartition(":")
    if not colon or not resource:
        raise WordError(f"A scope is written role:NAME or RESOURCE:ACTIONS, not {entry!r}.")
    permit = Permit(resource, tuple(actions.split(",")))
    grants_of(permit)
    return permit


class _Scope:
    """One scope, compiled: its own permissions and the roles it names."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        permits, roles = [], []
        for entry in entries:
            parsed = _parse_entry(entry)
            if isinstance(parsed, Permit):
                permits.append(parsed)
            else:
                roles.append(parsed)
        self.roles = tuple(f"Role:{role}" for role in roles)
        rules = tuple(rule for rule, _ in rules_of("Scope:", permits))
        self.book = RuleBook(SCOPE, lambda: (1, rules), lambda _rule: ("within the scope", "scope"))
        self.book.refresh()

    @property
    def view(self) -> View:
        view = self.book.views.get(SCOPE)
        return self.book.view(SCOPE, ("Scope:",), _ANYWHERE) if view is None else view


class ScopeCeiling:
    """Implements `chain.Ceiling` over the entries `parse_scope` accepts; any other lets nothing through."""

    def __init__(self, roles: RoleDirectory) -> None:
        self._by_role = RuleBook(SCOPE, roles.rules, lambda rule: role_words(rule, roles.place(rule)))
        self._scopes: OrderedDict[tuple[str, ...], _Scope] = OrderedDict()

    def permits(self, scope: tuple[str, ...], action: Action) -> Decision:
        """Allowed, or a denial that names the scope."""
        try:
            compiled = self._compiled(scope)
        except WordError as error:
            return _outside(scope, str(error))
        decision = compiled.view.decide(action)
        if not decision.allowed and compiled.roles:
            decision = self._roles_view(compiled).decide(action)
        return decision if decision.allowed else _outside(scope)

    def permits_any(
        self, scope: tuple[str, ...], operation: Operation, resource_type: ResourceType
    ) -> Decision:
        """Whether the scope lets the operation through on some resource of the type."""
        try:
            compiled = self._compiled(scope)
        except WordError as error:
            return _outside(scope, str(error))
        decision = compiled.book.decide_any(compiled.view, operation, resource_type)
        if not decision.allowed and compiled.roles:
            decision = self._by_role.decide_any(self._roles_view(compiled), operation, resource_type)
        return decision if decision.allowed else _outside(scope)

    def _compiled(self, scope: tuple[str, ...]) -> _Scope:
        known = self._scopes.get(scope)
        if known is None:
            if len(self._scopes) >= SCOPES_MAX:
                self._scopes.popitem(last=False)
            known = self._scopes[scope] = _Scope(scope)
        else:
            self._scopes.move_to_end(scope)
        return known

    def _roles_view(self, compiled: _Scope) -> View:
        book = self._by_role
        book.refresh()
        view = book.views.get(compiled.roles)
        return book.view(compiled.roles, compiled.roles, _ANYWHERE) if view is None else view


def _outside(scope: tuple[str, ...], why: str = "") -> Decision:
    shown = ", ".join(scope) or "nothing"
    reason = f"outside the scope of the token ({shown})" + (f": {why}" if why else "")
    return Decision.deny(reason, engine=SCOPE, rule="scope")
