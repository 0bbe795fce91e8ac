"""The key that signs audit checkpoints, for operators: its public halves, and a new key in its place.

Driver; belongs to the event loop. Every broker has it, encrypted or not, and imports this at its start: it
must import no crypto library by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rivven.app.auditing import Auditing
from rivven.audit.signing import new_secret, signer_of
from rivven.audit.sinks import SinkFailed
from rivven.errors import StorageFailed
from rivven.security.keys.public_keys import PublicKey
from rivven.security.keys.secrets import AUDIT_SIGNING, Secrets


class AuditSigning:
    """Implements `security.keys.operations.Signing`. One call at a time: each may make the first key."""

    def __init__(self, auditing: Auditing, kept: Secrets) -> None:
        self._auditing = auditing
        self._secrets = kept
        self._alone = asyncio.Lock()

    async def public_keys(self) -> Sequence[PublicKey]:
        """The present key first, then those before it. Raises StorageFailed."""
        async with self._alone:
            try:
                return await asyncio.to_thread(self._public_keys)
            except SinkFailed as error:
                raise StorageFailed(str(error)) from None

    def _public_keys(self) -> list[PublicKey]:
        current = signer_of(self._secrets.load_or_create(AUDIT_SIGNING, new_secret))
        old = sorted(self._secrets.public.all(AUDIT_SIGNING).items())
        return [
            PublicKey(current.key_id, current.public_pem.decode("ascii"), True),
            *(PublicKey(one, pem.decode("ascii"), False) for one, pem in old if one != current.key_id),
        ]

    async def rotate(self) -> PublicKey:
        """Sign with another key from now on. Raises StorageFailed."""
        async with self._alone:
            try:
                made = await self._auditing.rotate_key(self._secrets)
            except (SinkFailed, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise StorageFailed(f"the audit key is not rotated: {reason}") from None
        return PublicKey(made.key_id, made.public_pem.decode("ascii"), True)
