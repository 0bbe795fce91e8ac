"""The families of the metadata, in the order of a snapshot. See `family`."""

from __future__ import annotations

from rivven.metadata.audit_heads import AuditHeads
from rivven.metadata.family import Family
from rivven.metadata.quotas import QuotaFamily
from rivven.metadata.revocations import Revocations
from rivven.metadata.roles import Roles
from rivven.metadata.tokens import Tokens
from rivven.metadata.users import UserSettingsFamily

FAMILIES: tuple[type[Family], ...] = (UserSettingsFamily, Tokens, Revocations, Roles, QuotaFamily, AuditHeads)
