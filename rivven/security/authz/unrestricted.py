"""The authorizer of a server that runs with ``insecure: true``: everybody may do everything.

Only `app` chooses it, and only when the file says so; it is no row of the authorizers a file can name.
"""

from __future__ import annotations

from collections.abc import Sequence

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.types import Operation, ResourceType

_ALLOWED = Decision.allow("the server runs with insecure: true")


class Unrestricted:
    """Allows every action."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One permission per action."""
        return [_ALLOWED] * len(actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Always allowed."""
        return _ALLOWED
