"""One TLS section while the broker runs: what is in force, and what takes its place when files change.

Each part - every pair, the authorities, the revocation lists - keeps its last good content for itself, so a
broken certificate does not keep a revocation from counting. What comes into force is a new context; one that
is in use is never touched, since a failed load would break it. A driver of files; it must not watch them,
nor know who listens.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from rivven.security.tls import check_pair, context_of
from rivven.security.tls_chains import chain_problem
from rivven.security.tls_files import (
    KeyPair,
    TlsConfigError,
    TlsFiles,
    check_kinds,
    names_of,
    pairs_of,
    read_authorities,
    read_crls,
    read_files,
    read_pair,
)

if TYPE_CHECKING:
    from rivven.config.tls import CertificatePair, TlsConfig
    from rivven.security.tls_trust import ClientTrust

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class InForce:
    """What new connections are handshaken with and judged by. `trust` is None where no client shows a
    certificate."""

    files: TlsFiles
    context: ssl.SSLContext = field(repr=False)
    trust: ClientTrust | None


@dataclass(frozen=True, slots=True)
class Reload:
    """What a look at the files came to: `now` takes the place of what was, `changed` are configuration keys,
    `problems` one line each for what stays as it was."""

    now: InForce
    changed: tuple[str, ...]
    problems: tuple[str, ...]


class TlsSection:
    """The material of one section of the configuration, `where`. Reading blocks; `take` does not."""

    def __init__(self, settings: TlsConfig, where: str) -> None:
        self.settings = settings
        self.where = where
        self._in_force: InForce | None = None

    @property
    def in_force(self) -> InForce:
        """What counts now."""
        assert self._in_force is not None, "load comes first"
        return self._in_force

    @property
    def asks(self) -> bool:
        """Whether clients may or must show a certificate."""
        return self.settings.client_auth != "none"

    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self.in_force.context

    def trust(self) -> ClientTrust:
        """How client certificates are judged now; only where clients show some."""
        trust = self.in_force.trust
        assert trust is not None, f"{self.where} asks for no certificates"
        return trust

    def load(self, now_ms: int) -> None:
        """Read everything at the start. Raises TlsConfigError."""
        files = read_files(self.settings, self.where)
        self._in_force = InForce(files, context_of(self.settings, files), self._trust_of(files, now_ms))

    def read_again(self, now_ms: int) -> Reload:
        """What the files would put in force now; changes nothing yet."""
        before = self.in_force
        reading = _Reading(self.settings, self.where, before.files, now_ms)
        trust = self._trust_after(reading, before, now_ms)
        if not reading.changed:
            return Reload(before, (), tuple(reading.problems))
        try:
            context = context_of(self.settings, reading.files)
        except TlsConfigError as error:  # each pair was sound; together they are not
            return Reload(before, (), (*reading.problems, str(error)))
        return Reload(InForce(reading.files, context, trust), tuple(reading.changed), tuple(reading.problems))

    def take(self, reload: Reload) -> None:
        """Put it in force."""
        self._in_force = reload.now

    def _trust_after(self, reading: _Reading, before: InForce, now_ms: int) -> ClientTrust | None:
        """What is trusted after this look; gives up lists, then authorities, that cannot be used."""
        while reading.trust_changed:
            try:
                return self._trust_of(reading.files, now_ms, before.trust)
            except TlsConfigError as error:
                reading.give_up_trust(error)
        return before.trust

    def _trust_of(
        self, files: TlsFiles, now_ms: int, before: ClientTrust | None = None
    ) -> ClientTrust | None:
        """Raises TlsConfigError for lists that cannot be used."""
        if not files.authorities:
            return None
        from rivven.security.crls import UnusableCrl, check_kept, check_newer, check_signatures, parse_crls
        from rivven.security.tls_trust import ClientTrust

        path = self.settings.crl_path
        try:
            crls = parse_crls(files.crls, now_ms) if files.crls is not None else []
            reject = self.settings.crl_expired == "reject"
            trust = ClientTrust(files.authorities, crls, reject_expired=reject)
            check_signatures(crls, trust.authorities)
            known = before.crls if before is not None else ()
            check_newer(crls, known)
            check_kept(crls, known, trust.authorities)
        except UnusableCrl as error:
            raise TlsConfigError(f"{self.where}.crl_path: {path}: {error}") from None
        except ValueError as error:
            raise TlsConfigError(f"{self.where}.ca_path: {self.settings.ca_path}: {error}") from None
        return trust


class _Reading:
    """One look at all files of a section: each part new where it is sound, else as before."""

    def __init__(self, settings: TlsConfig, where: str, before: TlsFiles, now_ms: int) -> None:
        self.changed: list[str] = []
        self.problems: list[str] = []
        self._settings = settings
        self._where = where
        self._before = before
        self._now_ms = now_ms
        self.files = self._read()

    @property
    def trust_changed(self) -> bool:
        return any(key in self.changed for key in (f"{self._where}.ca_path", f"{self._where}.crl_path"))

    def give_up_trust(self, error: TlsConfigError) -> None:
        """Leave the lists as they were because of `error`; if they have not changed, the authorities."""
        self.problems.append(str(error))
        crl = f"{self._where}.crl_path"
        if crl in self.changed:
            self.changed.remove(crl)
            self.files = replace(self.files, crls=self._before.crls)
        else:
            self.changed.remove(f"{self._where}.ca_path")
            self.files = replace(self.files, authorities=self._before.authorities)

    def _read(self) -> TlsFiles:
        before, settings, where = self._before, self._settings, self._where
        pairs = tuple(
            self._pair(one, key, old)
            for (key, one), old in zip(pairs_of(settings, where), before.pairs, strict=True)
        )
        try:
            check_kinds(pairs)
        except TlsConfigError as error:
            self.problems.append(str(error))
            self.changed.clear()
            pairs = before.pairs
        sni = {
            name: self._pair(settings.sni[name], key, before.sni[name])
            for name, key in names_of(settings, where)
        }
        return TlsFiles(pairs, sni, self._authorities(), self._crls())

    def _authorities(self) -> tuple[bytes, ...]:
        path, key = self._settings.ca_path, f"{self._where}.ca_path"
        if path is None:
            return ()
        return self._part(key, self._before.authorities, lambda: read_authorities(path, key))

    def _crls(self) -> bytes | None:
        path, key = self._settings.crl_path, f"{self._where}.crl_path"
        if path is None:
            return None
        return self._part(key, self._before.crls, lambda: read_crls(path, key))

    def _pair(self, settings: CertificatePair, key: str, old: KeyPair) -> KeyPair:
        def read() -> KeyPair:
            pair = read_pair(settings, key)
            if pair != old:
                check_pair(pair)
                problem = chain_problem(pair.chain, self._now_ms)
                if problem is not None:
                    raise TlsConfigError(f"{key}.cert_path: {settings.cert_path}: {problem}")
            return pair

        return self._part(f"{key}.cert_path", old, read)

    def _part(self, key: str, old: Part, read: Callable[[], Part]) -> Part:
        try:
            new = read()
        except TlsConfigError as error:
            self.problems.append(str(error))
            return old
        if new != old:
            self.changed.append(key)
        return new


def chains_of(section: TlsSection) -> dict[str, tuple[bytes, ...]]:
    """The certificates in force (DER) by the configuration keys of their files."""
    files = section.in_force.files
    found = {f"{pair.where}.cert_path": pair.chain for pair in (*files.pairs, *files.sni.values())}
    if files.authorities:
        found[f"{section.where}.ca_path"] = files.authorities
    return found
