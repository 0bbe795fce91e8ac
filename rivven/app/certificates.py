"""Client certificates of one broker: the mapping, the deny-list and its file, and who hears of a change.

Built only when some listener asks for certificates; then it also imports the crypto library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rivven.api.authentication import AuthenticationObserver, CertificateIdentities
from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.metadata.revocations import Revocations
from rivven.metadata.service import MetadataService
from rivven.security.authn.authenticator import Credential
from rivven.security.authn.certificates import CertificateAuthentication
from rivven.security.authn.denied_certificates import DeniedCertificates, DeniedEntryError, parse_denied
from rivven.security.authn.external_names import ExternalNames, LocalNames
from rivven.security.authn.principal_rules import RuleError, name_mapping
from rivven.security.sessions import Sessions
from rivven.security.tls_trust import ClientTrust
from rivven.tasks import Tasks
from rivven.watched_files import WatchedFiles

FILE_BYTES_MAX = 32 << 20
"""A list of the most entries with issuers; anything above is the wrong file."""

_log = logging.getLogger("rivven.auth")


class NamedByCertificate:
    """The local names where no Kafka listener takes passwords or tokens: super users are then named as
    certificates name them, or there could be none. Implements `LocalNames`."""

    def __init__(self, local: LocalNames) -> None:
        self._local = local

    def is_user(self, name: str) -> bool:
        return self._local.is_user(name)

    def is_super_user(self, name: str) -> bool:
        return False

    def is_group(self, name: str) -> bool:
        return self._local.is_group(name)


class ClientCertificates:
    """Belongs to the event loop. Raises StartFailed for a mapping or a list that cannot be used."""

    def __init__(
        self,
        config: Config,
        metadata: MetadataService,
        sessions: Sessions,
        names: ExternalNames,
        clock: Clock,
        observer: AuthenticationObserver,
    ) -> None:
        self._metadata = metadata
        self._sessions = sessions
        self._file = config.auth.mtls.denied_file
        mapping = config.auth.mtls_mapping
        try:
            by = name_mapping(mapping.type, mapping.rules)
        except RuleError as error:
            raise StartFailed(
                f"auth.mtls_mapping.rules: {error}",
                "try it with: rivven tls principal-test CERT --config FILE",
                ExitCode.CONFIG,
            ) from None
        try:
            self._fixed = parse_denied(config.auth.mtls.denied)
        except DeniedEntryError as error:
            raise StartFailed(f"auth.mtls.denied: {error}", "see docs/security.md", ExitCode.CONFIG) from None
        self._denied = self._fixed
        if self._file is not None:
            self._watched = WatchedFiles("auth.mtls.denied_file", self._files, self._reload)
            self._watched.mark()
            try:
                self._denied = self._fixed | _read(self._file)
            except (OSError, ValueError) as error:
                raise StartFailed(
                    f"auth.mtls.denied_file: {self._file}: {_why(error)}",
                    "an empty file refuses nobody",
                    ExitCode.CONFIG,
                ) from None
        if not _others_log_in(config):
            names = ExternalNames(NamedByCertificate(names.local))
        self.authentication = CertificateAuthentication(by, mapping.prefix, names, self.revoked)
        self._clock = clock
        self._observer = observer
        sessions.validators.append(self.authentication.still_valid)

    def identities(self, trust: Callable[[], ClientTrust]) -> CertificateIdentities:
        """What certificates mean on a listener whose clients are judged by `trust`."""
        return CertificateIdentities(self.authentication, trust, self._clock, self._observer)

    def watch(self, tasks: Tasks) -> None:
        """Follow the file of denied certificates."""
        if self._file is not None:
            tasks.spawn(self._watched.run(), "watch the denied certificates")

    def _files(self) -> list[Path]:
        return [] if self._file is None else [self._file]

    def revoked(self, credential: Credential) -> str | None:
        """Why a certificate, and what was made with it, no longer counts; None while it does."""
        return self._denied.reason(credential) or self._metadata.image.of(Revocations).reason(credential)

    def _reload(self) -> None:
        """Take over the changed file; what was refused stays refused while it cannot be read."""
        assert self._file is not None
        try:
            self._denied = self._fixed | _read(self._file)
        except (OSError, ValueError) as error:
            _log.error("%s: %s; the list before it stays in force", self._file, _why(error))
            return
        self._sessions.recheck_soon(f"{self._file} changed")


def _others_log_in(config: Config) -> bool:
    return any(listener.uses_sasl for listener in config.listeners)


def _read(path: Path) -> DeniedCertificates:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
    return parse_denied(content.decode().splitlines())


def _why(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
