"""Judges the certificates a configuration names before a broker is started with it, as the broker will and as
its clients will.

The reading and the judging of pairs, chains and lists are the broker's own (`tls_files`, `tls`, `tls_chains`,
`crls`); what is added is what only a person can repair: names that do not fit what is advertised, purposes,
what ends soon. It must not change anything, nor look at the network.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rivven.config.tls import TlsConfig
from rivven.security.crls import UnusableCrl, check_signatures, parse_crls
from rivven.security.tls import check_pair, context_of
from rivven.security.tls_chains import chain_problem
from rivven.security.tls_files import (
    KeyPair,
    TlsConfigError,
    check_kinds,
    names_of,
    pairs_of,
    read_authorities,
    read_crls,
    read_files,
    read_pair,
)
from rivven.security.tls_inspection import (
    CertificateFacts,
    CertificateFileError,
    certificate_facts,
    revocation_list_facts,
)

if TYPE_CHECKING:
    from rivven.config.models import Config
    from rivven.config.tls import CertificatePair

LIST_SOON = timedelta(hours=24)
"""Lists of revoked certificates are signed anew every few days: only the last day is worth a warning."""

_ROUNDS_MAX = 8
"""Turns of a handshake in memory; TLS 1.3 takes two."""

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about one file: `key` is the configuration key, `verdict` one of OK, WARNING, PROBLEM."""

    key: str
    path: Path
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    """A TLS section with the host names clients reach it by; a `required` one must be in a certificate, of
    `any_of` one is enough."""

    tls: TlsConfig
    where: str
    required: tuple[str, ...]
    any_of: tuple[str, ...] = ()


def verify_config(config: Config, now: datetime, within: timedelta, trust: Path | None) -> list[Finding]:
    """Everything that is to be said about the certificates of a configuration, in its order.

    `within` is what counts as soon; with `trust`, a bundle of authorities, the chain of each listener without
    problems is also verified as a strict client that trusts these would. Raises CertificateFileError for that
    bundle only.
    """
    found: list[Finding] = []
    for section in _sections(config):
        judged = list(_judge_section(section, now, within))
        found += judged
        if trust is not None and all(one.verdict != PROBLEM for one in judged):
            found += _as_clients_see_it(section, trust)
    for key, path in _other_authorities(config):
        found += _judge_bundle(key, path, now, within)
    return found


def covers(facts: CertificateFacts, host: str) -> bool:
    """Whether a certificate is for this host name or address (RFC 6125 6.4: a wildcard is one label)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        wild = "*." + name.partition(".")[2]
        return any(one.lower() in (name, wild) for one in facts.dns_names)
    return any(ipaddress.ip_address(one) == address for one in facts.addresses)


def _sections(config: Config) -> list[_Section]:
    """Every TLS section that is in use, each once and under the name it has in logs and metrics."""
    shared = tuple(
        listener.advertised_address.host
        for listener in config.listeners
        if listener.uses_tls and listener.tls is None
    )
    own = [
        _Section(listener.tls, f"listeners.{listener.name}.tls", (listener.advertised_address.host,))
        for listener in config.listeners
        if listener.tls is not None
    ]
    admin = config.admin if config.admin is not None and config.admin.enabled else None
    callers = tuple(sorted(config.admin_names)) if admin is not None else ()
    uses_shared = admin is not None and admin.tls is None
    found = []
    if config.server.tls is not None and (shared or uses_shared):
        found.append(_Section(config.server.tls, "server.tls", shared, callers if uses_shared else ()))
    found += own
    if admin is not None and admin.tls is not None:
        found.append(_Section(admin.tls, "admin.tls", (), callers))
    return found


def _judge_section(section: _Section, now: datetime, within: timedelta) -> Iterator[Finding]:
    tls, where = section.tls, section.where
    pairs: list[KeyPair] = []
    leaves: list[CertificateFacts] = []
    for key, settings in pairs_of(tls, where):
        yield from _judge_pair(settings, key, now, within, pairs, leaves)
    yield from _judge_kinds(pairs)
    by_name: dict[str, CertificateFacts] = {}
    for name, key in names_of(tls, where):
        one: list[CertificateFacts] = []
        yield from _judge_pair(tls.sni[name], key, now, within, [], one)
        if one:
            by_name[name] = one[0]
    if leaves:
        yield from _judge_names(section, leaves, by_name)
    if tls.ca_path is not None:
        yield from _judge_bundle(f"{where}.ca_path", tls.ca_path, now, within)
        if tls.crl_path is not None:
            yield from _judge_lists(tls, where, now)


def _judge_pair(
    settings: CertificatePair,
    where: str,
    now: datetime,
    within: timedelta,
    pairs: list[KeyPair],
    leaves: list[CertificateFacts],
) -> Iterator[Finding]:
    """Findings about one pair; what can be used is added to `pairs` and `leaves`."""
    key, path = f"{where}.cert_path", settings.cert_path
    try:
        pair = read_pair(settings, where)
        check_pair(pair)
        facts = certificate_facts(path)
    except TlsConfigError as error:
        # The message begins with its key and names the file; the table has columns for both.
        named, _, reason = str(error).partition(": ")
        file = settings.key_path if named == f"{where}.key_path" else path
        yield Finding(named, file, PROBLEM, reason.removeprefix(f"{file}: "))
        return
    except CertificateFileError as error:
        yield Finding(key, path, PROBLEM, str(error).removeprefix(f"{path}: "))
        return
    pairs.append(pair)
    leaves.append(facts[0])
    problem = chain_problem(pair.chain, int(now.timestamp() * 1000))
    if problem is not None:
        yield Finding(key, path, PROBLEM, problem)
        return
    if facts[0].extended_key_usage and "serverAuth" not in facts[0].extended_key_usage:
        yield Finding(key, path, PROBLEM, "its purpose is not that of a server (extendedKeyUsage serverAuth)")
    strict = [f"certificate {one.dates.place + 1}: {text}" for one in facts for text in one.problems]
    if strict:
        yield Finding(key, path, WARNING, f"strict clients refuse it: {'; '.join(strict)}")
    yield _ends(key, path, facts, now, within)


def _judge_kinds(pairs: Iterable[KeyPair]) -> Iterator[Finding]:
    usable = tuple(pairs)
    try:
        check_kinds(usable)
    except TlsConfigError as error:
        named, _, reason = str(error).partition(": ")
        yield Finding(named, usable[-1].cert_path, PROBLEM, reason)


def _judge_names(
    section: _Section, leaves: list[CertificateFacts], by_name: Mapping[str, CertificateFacts]
) -> Iterator[Finding]:
    key, path = f"{section.where}.cert_path", section.tls.cert_path
    for name, facts in by_name.items():
        if not (name in facts.dns_names or covers(facts, name)):
            yield Finding(
                f"{section.where}.sni.{name}.cert_path",
                facts.dates.path,
                PROBLEM,
                f"its names do not cover {name}: {_names(facts)}",
            )
    for host in dict.fromkeys(section.required):
        if host.lower() not in by_name and not all(covers(facts, host) for facts in leaves):
            lacking = next(facts for facts in leaves if not covers(facts, host))
            yield Finding(
                key,
                lacking.dates.path,
                PROBLEM,
                f"clients are told to connect to {host}, which its names do not cover: {_names(lacking)}",
            )
    callers = section.any_of
    if callers and not any(covers(facts, host) for facts in (*leaves, *by_name.values()) for host in callers):
        text = f"callers of the Admin API can use none of {', '.join(callers)}: {_names(leaves[0])}"
        yield Finding(key, path, WARNING, text)


def _judge_bundle(key: str, path: Path, now: datetime, within: timedelta) -> Iterator[Finding]:
    """A bundle of authorities: that it can be read, and until when each of them counts."""
    try:
        read_authorities(path, key)
        facts = certificate_facts(path)
    except TlsConfigError as error:
        yield Finding(key, path, PROBLEM, str(error).removeprefix(f"{key}: ").removeprefix(f"{path}: "))
        return
    except CertificateFileError as error:
        yield Finding(key, path, PROBLEM, str(error).removeprefix(f"{path}: "))
        return
    in_force = [one for one in facts if one.dates.not_before <= now < one.dates.not_after]
    for one in facts:
        if one not in in_force:
            verdict = WARNING if in_force else PROBLEM
            yield Finding(key, path, verdict, f"{one.subject} is not valid now (to {_day(one)}): remove it")
        elif one.subject == one.issuer and not one.authority:
            yield Finding(key, path, WARNING, f"{one.subject} is not marked as an authority")
    if in_force:
        yield _ends(key, path, in_force, now, within)


def _judge_lists(tls: TlsConfig, where: str, now: datetime) -> Iterator[Finding]:
    assert tls.ca_path is not None and tls.crl_path is not None
    from cryptography import x509

    key, path = f"{where}.crl_path", tls.crl_path
    try:
        lists = parse_crls(read_crls(path, key), int(now.timestamp() * 1000))
        authorities = [
            x509.load_der_x509_certificate(der) for der in read_authorities(tls.ca_path, f"{where}.ca_path")
        ]
        check_signatures(lists, authorities)
    except TlsConfigError as error:
        if str(error).startswith(key):  # the bundle has had its finding
            yield Finding(key, path, PROBLEM, str(error).removeprefix(f"{key}: ").removeprefix(f"{path}: "))
        return
    except (ValueError, x509.InvalidVersion) as error:
        if isinstance(error, UnusableCrl):  # else it is about the bundle, too
            yield Finding(key, path, PROBLEM, str(error))
        return
    for authority in authorities:
        if not any(one.is_of(authority) for one in lists):
            name = authority.subject.rfc4514_string()
            yield Finding(key, path, WARNING, f"has no list of {name}: its certificates are not checked")
    for one in lists:
        if not any(one.is_of(authority) for authority in authorities):
            yield Finding(key, path, WARNING, f"the list of {one.issuer} is of no authority in ca_path")
    verdict_when_expired = PROBLEM if tls.crl_expired == "reject" else WARNING
    for facts in revocation_list_facts(path):
        ends = facts.next_update or now
        text = f"the list of {facts.issuer} counts to {ends:%Y-%m-%d %H:%M} UTC, {len(facts.revoked)} revoked"
        verdict = verdict_when_expired if ends <= now else WARNING if ends - now <= LIST_SOON else OK
        yield Finding(key, path, verdict, text)


def _as_clients_see_it(section: _Section, trust: Path) -> Iterator[Finding]:
    """A handshake in memory, with a client that takes RFC 5280 at its word, under every advertised name."""
    key, path = f"{section.where}.cert_path", section.tls.cert_path
    files = replace(read_files(section.tls, section.where), authorities=())
    open_to_all = section.tls.model_copy(
        update={"client_auth": "none", "ca_path": None, "crl_path": None, "crl_expired": "reject"}
    )
    serving = context_of(open_to_all, files)
    try:
        trusting = ssl.create_default_context(cafile=trust)
    except ssl.SSLError:  # is an OSError too
        raise CertificateFileError(f"{trust}: holds no PEM certificates") from None
    except OSError as error:
        raise CertificateFileError(f"{trust}: {error.strerror}") from None
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    trusting.hostname_checks_common_name = False
    for host in dict.fromkeys(section.required):
        problem = _handshake_problem(serving, trusting, host)
        text = f"a client that trusts {trust} connects to {host}" if problem is None else f"{host}: {problem}"
        yield Finding(key, path, OK if problem is None else PROBLEM, text)


def _handshake_problem(serving: ssl.SSLContext, trusting: ssl.SSLContext, host: str) -> str | None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=host)
    server = serving.wrap_bio(there, back, server_side=True)
    for _ in range(_ROUNDS_MAX):
        for side in (client, server):
            try:
                side.do_handshake()
                if side is client:
                    return None
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return f"a client refuses it: {error.verify_message}"
    return "the handshake does not end"


def _ends(
    key: str, path: Path, facts: Iterable[CertificateFacts], now: datetime, within: timedelta
) -> Finding:
    first = min(facts, key=lambda one: one.dates.not_after)
    soon = first.dates.not_after - now <= within
    text = f"counts to {_day(first)} ({first.subject})"
    return Finding(key, path, WARNING if soon else OK, text)


def _day(facts: CertificateFacts) -> str:
    return f"{facts.dates.not_after.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _names(facts: CertificateFacts) -> str:
    return ", ".join((*facts.dns_names, *facts.addresses)) or "it has none"


def _other_authorities(value: BaseModel, where: str = "") -> Iterator[tuple[str, Path]]:
    """Every `ca_path` that is not a TLS listener's: whom the broker trusts when it connects to others."""
    for name in type(value).model_fields:
        inner, key = getattr(value, name), f"{where}.{name}" if where else name
        if isinstance(inner, TlsConfig):
            continue
        if name == "ca_path" and isinstance(inner, Path):
            yield key, inner
        elif isinstance(inner, BaseModel):
            yield from _other_authorities(inner, key)
        elif isinstance(inner, list | tuple):
            for number, one in enumerate(inner):
                if isinstance(one, BaseModel):
                    yield from _other_authorities(one, f"{key}[{number}]")
