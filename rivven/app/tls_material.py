"""Certificates, keys, authorities and revocation lists of one broker while it runs.

Read at the start, followed by content, put in force when sound. What is broken changes nothing: one line in
the log, a metric and an audit event say so until it is mended. Existing connections stay; new ones are
handshaken with what is in force when they come; those that rest on a client certificate are asked again when
authorities or lists change. Driver.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.tls_expiry import ExpiryWatch
from rivven.audit.events import FAILURE, LIFECYCLE, AuditEvent
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.config.listeners import ListenerConfig
from rivven.config.models import Config
from rivven.config.tls import TlsConfig
from rivven.security.tls_files import TlsConfigError, paths_of
from rivven.security.tls_live import Reload, TlsSection, chains_of
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.watched_files import WatchedFiles

REREAD_S = 5.0
"""Content is compared so often even where size and times of a file look the same: what a network file system
says of a file may be old. Together with the look itself a change is seen well within ten seconds."""

ATTEMPTS = 5
PAUSE_S = 0.25
"""A certificate and its key are two files: for a second a pair that does not match is half a change."""

TRY_AGAIN_S = 60.0
"""How often files that are refused are judged anew though nobody changes them: a certificate or a list may
begin a little later than the broker's clock says."""

_log = logging.getLogger("rivven.tls")


class TlsMaterial:
    """Belongs to the event loop; files are read on a thread, except at the start."""

    def __init__(self, config: Config, clock: Clock, metrics: Metrics, trail: AuditTrail) -> None:
        self.trust_changed: list[Callable[[str], object]] = []
        """Called with the reason, for the log, when clients that were trusted may no longer be."""
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._trail = trail
        self._sections: dict[str, TlsSection] = {}
        self._watched: dict[str, WatchedFiles] = {}
        self._reported: dict[str, frozenset[str]] = {}
        self.expiry = ExpiryWatch(config, clock, metrics, self.chains, self._lists_expired)

    def of_listener(self, listener: ListenerConfig) -> TlsSection | None:
        """What a listener uses, loaded; None without TLS. Raises StartFailed."""
        where = f"listeners.{listener.name}.tls" if listener.tls is not None else "server.tls"
        return self._section(self._config.tls_of(listener), where)

    def of_admin(self) -> TlsSection | None:
        """What the Admin API uses, loaded; None without TLS. Raises StartFailed."""
        own = self._config.admin is not None and self._config.admin.tls is not None
        return self._section(self._config.admin_tls, "admin.tls" if own else "server.tls")

    def chains(self) -> Mapping[str, tuple[bytes, ...]]:
        """The certificates in force (DER) by the configuration keys of their files."""
        found: dict[str, tuple[bytes, ...]] = {}
        for section in self._sections.values():
            found |= chains_of(section)
        return found

    def server_chains(self) -> Mapping[str, tuple[bytes, ...]]:
        """Those of them that are shown to clients, by the keys of their pairs."""
        end = ".cert_path"
        return {key.removesuffix(end): chain for key, chain in self.chains().items() if key.endswith(end)}

    def follow(self, tasks: Tasks) -> None:
        """Follow the files of everything that was asked for, and warn of what ends soon."""
        for where, watched in self._watched.items():
            tasks.spawn(watched.run(), f"follow the files of {where}")
        tasks.spawn(self.expiry.run(), "ends of certificates")
        tasks.spawn(self._try_again(), "certificates that are refused")

    async def look_once(self) -> None:
        """One look at all files."""
        for watched in self._watched.values():
            await watched.look_once()

    def judge_refused_again(self) -> None:
        """Have files that are refused judged anew with the next rereading."""
        for where, problems in self._reported.items():
            if problems:
                self._watched[where].forget()

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(TRY_AGAIN_S)
            self.judge_refused_again()

    def _section(self, settings: TlsConfig | None, where: str) -> TlsSection | None:
        if settings is None or where in self._sections:
            return self._sections.get(where) if settings is not None else None
        section = TlsSection(settings, where)
        watched = WatchedFiles(
            f"TLS files of {where}",
            lambda: paths_of(settings),
            lambda: self._reload(section),
            reread_s=REREAD_S,
        )
        watched.mark()
        try:
            section.load(self._clock.now_ms())
        except TlsConfigError as error:
            raise StartFailed(
                str(error),
                "check the files this listener names; rivven tls inspect shows them",
                ExitCode.CONFIG,
            ) from None
        self._sections[where], self._watched[where] = section, watched
        self._metrics.tls_section(where)
        self.expiry.add(section)
        return section

    async def _reload(self, section: TlsSection) -> None:
        known = self._reported.get(section.where, frozenset())
        for attempt in range(ATTEMPTS):
            reload = await asyncio.to_thread(section.read_again, self._clock.now_ms())
            if reload.changed:
                self._take(section, reload)
            if known.issuperset(reload.problems):
                break
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(PAUSE_S)
        self._report(section, reload.problems)

    def _take(self, section: TlsSection, reload: Reload) -> None:
        section.take(reload)
        for key in reload.changed:
            _log.info("%s has changed; it counts for every connection from now on", key)
            self._metrics.tls_reloaded(section.where, True)
            self._trail.event(AuditEvent(LIFECYCLE, "reload", f"tls:{key}"))
        self.expiry.look()
        about_trust = [key for key in reload.changed if key.endswith((".ca_path", ".crl_path"))]
        if about_trust:
            self._tell(f"{' and '.join(about_trust)} changed")

    def _report(self, section: TlsSection, problems: tuple[str, ...]) -> None:
        where = section.where
        known, now = self._reported.get(where, frozenset()), frozenset(problems)
        for problem in problems:
            if problem in known:
                continue
            _log.error("%s; what was in force before stays", problem)
            self._metrics.tls_reloaded(where, False)
            self._trail.event(AuditEvent(LIFECYCLE, "reload", f"tls:{where}", FAILURE, reason=problem))
        if known and not now:
            _log.info("the files of %s are sound again", where)
        self._reported[where] = now
        self._metrics.tls_refused(where, bool(now))

    def _lists_expired(self, why: str) -> None:
        self._trail.event(AuditEvent(LIFECYCLE, "expire", "tls:crl", FAILURE, reason=why))
        self._tell(why)

    def _tell(self, why: str) -> None:
        for tell in self.trust_changed:
            tell(why)
