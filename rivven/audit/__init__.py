"""The audit trail: what happened to identities, permissions and configuration, in a chain of signed lines.

It is told by `api`, `http` and `app`; it never asks and decides nothing about a request except that an
administrative change may not go on when its intent cannot be recorded. Payloads and secrets never enter it.
"""
