"""Completes erasure certificates that were pending, once the provider has destroyed the last key.

Driver; belongs to the event loop. It only looks: a destruction that somebody called off is reported and not
asked for again, because whoever may do that at the provider had a reason.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from rivven.audit.events import FAILURE, SUCCESS, AuditEvent
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.security.keys.erasure_certificate import CertificateRefused
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.operations import CertificateEntry
from rivven.security.keys.provider import BuiltInProvider, KekState, KeyProviderError, ProviderUnavailable
from rivven.tasks import Tasks

CHECK_SECONDS: Final = 3_600.0
"""Between two looks; services count the days until a key is destroyed."""

LIST_SECONDS: Final = 10.0
"""How long a list of certificates waits for a look, and how old that may be."""

ASKED_MAX: Final = 1_000
"""KEKs asked about in one look: as many as the key store remembers. What is due first is asked first."""

_log = logging.getLogger("rivven.keys")


class ErasureCompletion:
    """Follows certificates that are pending."""

    def __init__(
        self,
        files: ErasureFiles,
        signing: ErasureSigning,
        provider: BuiltInProvider,
        trail: AuditTrail,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._files = files
        self._signing = signing
        self._provider = provider
        self._trail = trail
        self._clock = clock
        self._tasks = tasks
        self._looking = asyncio.Lock()
        self._listed: asyncio.Task[None] | None = None
        """The look that lists wait for: a slow provider must not make a queue of them."""
        self._looked_at: float | None = None
        self._problems: dict[str, str] = {}
        """Why a certificate is not complete and will not be by waiting, by its id."""
        self.pending = 0
        """Certificates that wait, at the last look."""

    @property
    def called_off(self) -> int:
        """Those among them that do not come to an end by themselves."""
        return len(self._problems)

    async def follow(self) -> None:
        """Look now and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_SECONDS)

    async def certificates(self) -> Sequence[CertificateEntry]:
        """Every certificate, after a look if the last one is not of this moment. Raises KeyProviderError."""
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LIST_SECONDS:
            if self._listed is None or self._listed.done():
                self._listed = self._tasks.spawn(self.look(), "completion of erasures")
            # A slow provider: they are listed as they are.
            await asyncio.wait({self._listed}, timeout=LIST_SECONDS)
        found = await asyncio.to_thread(self._files.certificates)
        return [replace(one, problem=self._problems.get(one.id, "")) for one in found]

    async def look(self) -> None:
        """Complete what can be; a failure is logged, and the next look comes."""
        async with self._looking:
            self._looked_at = self._clock.monotonic()
            try:
                await self._look()
            except (RivvenError, OSError) as error:
                _log.warning("pending erasure certificates cannot be completed now: %s", error)

    async def _look(self) -> None:
        found = await asyncio.to_thread(self._files.pending_certificates)
        self.pending = len(found)
        self._problems = {one: text for one, text in self._problems.items() if one in found}
        states: dict[str, KekState] = {}
        for certificate_id, fields in sorted(found.items(), key=lambda one: one[1]["pending_until"]):
            keks = [one["key_id"] for one in fields["key_encryption_keys"] if not one["destroyed"]]
            if states and len(states | dict.fromkeys(keks)) > ASKED_MAX:
                break
            try:
                for kek in keks:
                    if kek not in states:
                        states[kek] = await asyncio.to_thread(self._provider.state, kek)
                await self._judge(certificate_id, fields, {kek: states[kek] for kek in keks})
            except ProviderUnavailable:
                raise
            except (KeyProviderError, CertificateRefused) as error:
                self._stuck(certificate_id, fields, str(error))

    async def _judge(self, certificate_id: str, fields: dict[str, Any], states: dict[str, KekState]) -> None:
        alive = [kek for kek, state in states.items() if state in ("enabled", "disabled")]
        if alive:
            self._stuck(
                certificate_id,
                fields,
                f"{alive[0]} is {states[alive[0]]} at the provider: its destruction was called off",
            )
            return
        self._problems.pop(certificate_id, None)
        if all(state == "destroyed" for state in states.values()):
            await self._complete(certificate_id, fields, list(states))

    async def _complete(self, certificate_id: str, fields: dict[str, Any], keks: list[str]) -> None:
        """Sign and keep a second certificate, then forget the keys."""
        made = uuid.uuid4().hex
        first = await asyncio.to_thread(self._files.read_certificate, certificate_id)
        content = await asyncio.to_thread(
            self._signing.completion, first or b"", made, self._clock.now_ms(), keks
        )
        await asyncio.to_thread(self._files.write_certificate, made, content)
        await asyncio.to_thread(self._files.forget_keks, keks)
        self.pending -= 1
        topic = fields["topic"]["name"]
        _log.warning("shredding of %s is complete: certificate %s completes %s", topic, made, certificate_id)
        self._record(topic, SUCCESS, made, certificate_id)

    def _stuck(self, certificate_id: str, fields: dict[str, Any], reason: str) -> None:
        if self._problems.get(certificate_id) != reason:
            self._problems[certificate_id] = reason
            topic = fields["topic"]["name"]
            _log.error("the erasure certificate %s of %s stays pending: %s", certificate_id, topic, reason)
            self._record(topic, FAILURE, certificate_id, certificate_id, reason)

    def _record(self, topic: str, result: str, made: str, first: str, reason: str = "") -> None:
        details = {"operation": "complete", "certificate_id": made, "completes": first}
        self._trail.event(
            AuditEvent(
                "key_change",
                "erase",
                f"topic:{topic}",
                result,
                reason=reason,
                details=details,
                signed=True,
            )
        )
