"""When certificates and revocation lists end: told by metrics all the time, and by the log in time.

Also those of the authorities by which the broker verifies servers that it connects to itself. Driver; it
puts nothing in force and refuses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from rivven.clock import Clock
from rivven.config.issuers_file import read_issuers
from rivven.config.models import Config
from rivven.config.problems import ConfigError
from rivven.security.certificate import MalformedCertificate
from rivven.security.tls_chains import chain_end_ms, chain_problem
from rivven.security.tls_files import TlsConfigError, read_authorities
from rivven.security.tls_live import TlsSection
from rivven.telemetry import Metrics

WARNING_DAYS = (30, 7, 1)
"""A warning at each, once per chain: time for a ticket, for a call, for a fire."""

LOOK_S = 3600.0
"""Least often; a revocation list that runs out is met at its moment."""

DAY_MS = 86_400_000

_log = logging.getLogger("rivven.tls")


class ExpiryWatch:
    """Belongs to the event loop. `chains` gives what is in force by configuration key; `lists_expired` is
    called, with a line for the operator, when revocation lists have run out."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        metrics: Metrics,
        chains: Callable[[], Mapping[str, tuple[bytes, ...]]],
        lists_expired: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._chains = chains
        self._lists_expired = lists_expired
        self._config = config
        self._outgoing: frozenset[str] = frozenset()
        self._ends: dict[str, int] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._sections: list[TlsSection] = []
        self._known_expired: set[tuple[str, int]] = set()
        self._changed = asyncio.Event()

    def add(self, section: TlsSection) -> None:
        """Look at a section's chains and lists from now on."""
        self._sections.append(section)
        if section.settings.crl_path is not None:
            self._metrics.watch_crl(f"{section.where}.crl_path", lambda: self._crl_days(section))
        self._look_at(self._chains())

    def look(self) -> None:
        """Something else is in force."""
        self._look_at(self._chains())
        self._changed.set()

    async def check_chains(self) -> None:
        """What a start takes because it has nothing else, clients may refuse: say so."""
        await asyncio.to_thread(_check_chains, self._sections, self._clock.now_ms())

    async def look_around(self) -> None:
        """One look at everything that can end."""
        self._changed.clear()
        self._look_at(self._chains())
        outgoing = await asyncio.to_thread(_outgoing_chains, self._config)
        self._look_at(outgoing)
        for key in self._outgoing - outgoing.keys():
            self._forget(key)
        self._outgoing = frozenset(outgoing)
        self._look_at_lists()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await self.check_chains()
        while True:
            await self.look_around()
            try:
                async with asyncio.timeout(self._seconds_to_next()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _look_at(self, chains: Mapping[str, tuple[bytes, ...]]) -> None:
        for key, chain in chains.items():
            try:
                end_ms = chain_end_ms(chain)
            except MalformedCertificate:
                continue  # OpenSSL read it; its times are not as RFC 5280 wants them
            if key not in self._ends:
                self._metrics.watch_chain(key, lambda key=key: self._days(self._ends[key]))  # type: ignore[misc]
            self._ends[key] = end_ms
            self._warn(key, end_ms)

    def _forget(self, key: str) -> None:
        self._metrics.watch_chain(key, None)
        self._ends.pop(key, None)
        self._told.pop(key, None)

    def _warn(self, key: str, end_ms: int) -> None:
        days = self._days(end_ms)
        step = sum(days <= limit for limit in WARNING_DAYS) + (days <= 0)
        told = self._told.get(key, (end_ms, 0))
        if step > (told[1] if told[0] == end_ms else 0):
            if days <= 0:
                _log.error("%s: a certificate of the chain has ended", key)
            else:
                level = logging.ERROR if days <= WARNING_DAYS[-1] else logging.WARNING
                _log.log(level, "%s: a certificate of the chain ends in %.1f days", key, days)
        self._told[key] = (end_ms, step)

    def _look_at_lists(self) -> None:
        now_ms, known = self._clock.now_ms(), self._known_expired
        self._known_expired = set()
        for section in self._sections:
            trust = section.in_force.trust
            for crl in trust.expired(now_ms) if trust is not None else ():
                key = (f"{section.where} {crl.issuer}", crl.next_update_ms)
                self._known_expired.add(key)
                if key in known:
                    continue
                refused = section.settings.crl_expired == "reject"
                effect = "its certificates are refused" if refused else "it is used all the same"
                why = f"{section.where}.crl_path: the list of {crl.issuer} has expired: {effect}"
                _log.error("%s", why)
                self._lists_expired(why)

    def _seconds_to_next(self) -> float:
        now_ms = self._clock.now_ms()
        trusts = [section.in_force.trust for section in self._sections]
        due = [trust.next_expiry_ms(now_ms) for trust in trusts if trust is not None]
        return min([LOOK_S, *((one - now_ms) / 1000 + 0.01 for one in due if one is not None)])

    def _crl_days(self, section: TlsSection) -> float:
        trust = section.in_force.trust
        ends = [crl.next_update_ms for crl in trust.crls] if trust is not None else []
        return self._days(min(ends)) if ends else 0.0

    def _days(self, end_ms: int) -> float:
        return (end_ms - self._clock.now_ms()) / DAY_MS


def outgoing_authorities(config: Config) -> dict[str, Path]:
    """The files of authorities for servers the broker connects to, by configuration key; they are read at
    every connection. Those of issuers in a file are as the file is now: it blocks."""
    oidc, encryption = config.auth.oidc, config.storage.encryption
    found: dict[str, Path | None] = {
        "storage.encryption.kms.ca_path": encryption.kms.ca_path,
        "storage.encryption.vault.ca_path": encryption.vault.ca_path,
    }
    for number, output in enumerate(config.audit.output):
        found[f"audit.output[{number}].ca_path"] = output.ca_path
    for number, issuer in enumerate(oidc.issuers):
        found[f"auth.oidc.issuers[{number}].ca_path"] = issuer.ca_path
    if oidc.issuers_file is not None:
        try:
            issuers = read_issuers(oidc.issuers_file)
        except ConfigError:  # told by whoever follows the file
            issuers = []
        for number, issuer in enumerate(issuers):
            found[f"auth.oidc.issuers_file[{number}].ca_path"] = issuer.ca_path
    return {key: path for key, path in found.items() if path is not None}


def _outgoing_chains(config: Config) -> dict[str, tuple[bytes, ...]]:
    found: dict[str, tuple[bytes, ...]] = {}
    for key, path in outgoing_authorities(config).items():
        try:
            found[key] = read_authorities(path, key)
        except TlsConfigError as error:
            _log.warning("%s", error)
    return found


def _check_chains(sections: list[TlsSection], now_ms: int) -> None:
    for section in sections:
        files = section.in_force.files
        for pair in (*files.pairs, *files.sni.values()):
            problem = chain_problem(pair.chain, now_ms)
            if problem is not None:
                _log.warning("%s.cert_path: %s: %s", pair.where, pair.cert_path, problem)
