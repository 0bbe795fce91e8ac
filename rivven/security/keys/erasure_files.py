"""What operations on keys leave in the key store: the running erasure, certificates, and KEKs once used.

Driver; blocks. Certificates are JSON, ``certificates/<id>.json``; the KEKs are a framed file, ``keks``:

    "RVKH" frame, JSON: {KEK id: name of its key}

and so are the segments of a topic that stood in plain before a re-encryption, ``plain/<topic id>``:

    "RVKP" frame, JSON: {partition: {"listed": [[base, end, bytes, seen ms]...], "more": count}}

A provider lists the KEKs of a name it has now; an alias of a KMS forgets where it pointed before, and a KEK
that wrapped a key once must be destroyed with it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import astuple, replace
from typing import Any, Final
from uuid import UUID

from rivven.log.files import Files
from rivven.security.keys import key_file
from rivven.security.keys.erasure import FORMERLY_PLAIN_MAX, Erasure, FormerlyPlain, decode, encode
from rivven.security.keys.erasure_certificate import CERTIFICATE_BYTES_MAX, PENDING
from rivven.security.keys.key_file import KeyFileRefused, disk_failures
from rivven.security.keys.key_store import KeyStore
from rivven.security.keys.operations import CertificateEntry

KEKS_MAGIC: Final = b"RVKH"
PLAIN_MAGIC: Final = b"RVKP"
KEKS_MAX: Final = 1_000
"""KEKs remembered that are not destroyed: one a day for three years, and with the longest ids a file that can
be read back. The oldest are forgotten then."""

CERTIFICATES_MAX: Final = 100_000
"""Certificates looked at for a list."""

PlainSegments = dict[int, tuple[tuple[FormerlyPlain, ...], int]]
"""By partition: the segments listed, and how many more there were."""

_ID: Final = re.compile(r"[0-9a-f]{32}")


class ErasureFiles:
    """Implements `shredding.Records`."""

    def __init__(self, files: Files, store: KeyStore) -> None:
        self._files = files
        self._store = store
        self._keks = f"{store.path}/keks"
        self._keks_changing = threading.Lock()
        self._certificates = f"{store.path}/certificates"
        self._plain = f"{store.path}/plain"
        self._entries: dict[str, CertificateEntry] = {}
        """Of certificates read before, which do not change: at most CERTIFICATES_MAX."""

    # -- the running erasure ---------------------------------------------------------------------------------

    def load_erasure(self) -> Erasure | None:
        """What was under way. Raises MalformedErasure and KeyProviderError."""
        found = self._store.operation()
        return None if found is None else decode(found)

    def save_erasure(self, erasure: Erasure) -> None:
        """Remember it durably. Raises KeyProviderError."""
        self._store.set_operation(encode(erasure))

    def clear_erasure(self) -> None:
        """Nothing is under way. Raises KeyProviderError."""
        self._store.set_operation(None)

    # -- certificates ----------------------------------------------------------------------------------------

    def write_certificate(self, certificate_id: str, content: bytes) -> None:
        """Keep a certificate durably. Raises KeyProviderError."""
        key_file.make_directory(self._files, self._certificates)
        key_file.replace_plain(self._files, self._path(certificate_id), content)
        self._entries.pop(certificate_id, None)

    def read_certificate(self, certificate_id: str) -> bytes | None:
        """A certificate, None when there is none. Raises KeyProviderError."""
        if not _ID.fullmatch(certificate_id):
            return None
        path = self._path(certificate_id)
        with disk_failures(path):
            if not self._files.exists(path):
                return None
            return self._files.open(path, "read").read(CERTIFICATE_BYTES_MAX, 0)

    def certificates(self) -> list[CertificateEntry]:
        """What there is, without checking signatures. Raises KeyProviderError."""
        with disk_failures(self._certificates):
            if not self._files.exists(self._certificates):
                return []
            names = self._files.list(self._certificates)
        ids = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        found = [entry for one in ids[:CERTIFICATES_MAX] if (entry := self._entry(one)) is not None]
        self._entries = {entry.id: entry for entry in found}
        completed = {entry.completes: entry.id for entry in found if entry.completes}
        return [replace(entry, completed_by=completed.get(entry.id, "")) for entry in found]

    def pending_certificates(self) -> dict[str, dict[str, Any]]:
        """The fields of certificates that are pending and that none completes, by id; signatures are not
        checked. Raises KeyProviderError."""
        found = {}
        for entry in self.certificates():
            if entry.state == PENDING and not entry.completed_by:
                fields = self._fields(entry.id)
                if fields is not None and _names_keks(fields) and fields.get("certificate_id") == entry.id:
                    found[entry.id] = fields
        return found

    def _entry(self, certificate_id: str) -> CertificateEntry | None:
        known = self._entries.get(certificate_id)
        if known is not None:
            return known
        fields = self._fields(certificate_id)
        if fields is None:
            return None
        return CertificateEntry(
            certificate_id,
            fields["topic"]["name"],
            str(fields["state"]),
            str(fields.get("completed_at", fields["finished_at"])),
            str(fields.get("completes", "")),
        )

    def _fields(self, certificate_id: str) -> dict[str, Any] | None:
        """What a certificate says, None for a file that is not ours."""
        try:
            fields: dict[str, Any] = json.loads(self.read_certificate(certificate_id) or b"")
            needed = (fields["topic"]["name"], fields["state"], fields["finished_at"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return fields if all(isinstance(one, str) for one in needed) else None

    def _path(self, certificate_id: str) -> str:
        return f"{self._certificates}/{certificate_id}.json"

    # -- segments once in plain ------------------------------------------------------------------------------

    def plain_segments(self, topic_id: UUID) -> PlainSegments:
        """What is remembered of a topic. Raises KeyProviderError."""
        path = f"{self._plain}/{topic_id}"
        found = key_file.read(self._files, path, PLAIN_MAGIC, "list of plain segments")
        if found is None:
            return {}
        try:
            content: Any = json.loads(found[1])
            return {
                int(partition): (
                    tuple(FormerlyPlain(*map(int, one)) for one in part["listed"]),
                    int(part["more"]),
                )
                for partition, part in content.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise KeyFileRefused(f"{path}: does not hold a list of plain segments") from None

    def remember_plain(self, topic_id: UUID, found: Mapping[int, Collection[FormerlyPlain]]) -> None:
        """Add segments of a topic, durably; those known already are not added. Raises KeyProviderError."""
        known = self.plain_segments(topic_id)
        room = FORMERLY_PLAIN_MAX - sum(len(listed) for listed, _ in known.values())
        changed = dict(known)
        for partition, segments in sorted(found.items()):
            listed, more = known.get(partition, ((), 0))
            there = {(one.base_offset, one.end_offset) for one in listed}
            new = [one for one in segments if (one.base_offset, one.end_offset) not in there]
            if new:
                taken = new[: max(room, 0)]
                room -= len(taken)
                changed[partition] = ((*listed, *taken), more + len(new) - len(taken))
        if changed != known:
            content = {
                str(partition): {"listed": [astuple(one) for one in listed], "more": more}
                for partition, (listed, more) in changed.items()
            }
            key_file.make_directory(self._files, self._plain)
            payload = json.dumps(content, separators=(",", ":")).encode()
            key_file.replace(self._files, f"{self._plain}/{topic_id}", PLAIN_MAGIC, payload)

    def forget_plain(self, besides: Collection[UUID]) -> None:
        """Remove the lists of all topics but these. Raises KeyProviderError."""
        with disk_failures(self._plain):
            names = self._files.list(self._plain) if self._files.exists(self._plain) else []
        kept = {str(one) for one in besides}
        for name in names:
            if name.removesuffix(".tmp") not in kept:
                key_file.remove(self._files, f"{self._plain}/{name}")

    # -- KEKs once used --------------------------------------------------------------------------------------

    def keks(self) -> dict[str, str]:
        """Name of the key by KEK id, the oldest first. Raises KeyProviderError."""
        found = key_file.read(self._files, self._keks, KEKS_MAGIC, "list of KEKs")
        if found is None:
            return {}
        try:
            content: Any = json.loads(found[1])
            return {str(kek): str(name) for kek, name in content.items()}
        except (ValueError, AttributeError):
            raise KeyFileRefused(f"{self._keks}: does not hold a list of KEKs") from None

    def remember_keks(self, found: Mapping[str, str]) -> dict[str, str]:
        """Add KEKs, durably; all of them. Raises KeyProviderError."""
        with self._keks_changing:  # lists and rotations run on threads of their own: no change may be lost
            known = self.keks()
            if found.keys() <= known.keys():
                return known
            every = dict(list((known | dict(found)).items())[-KEKS_MAX:])
            self._write_keks(every)
            return every

    def forget_keks(self, gone: Collection[str]) -> None:
        """Remove destroyed KEKs, durably. Raises KeyProviderError."""
        with self._keks_changing:
            known = self.keks()
            left = {kek: name for kek, name in known.items() if kek not in gone}
            if len(left) < len(known):
                self._write_keks(left)

    def _write_keks(self, keks: dict[str, str]) -> None:
        payload = json.dumps(keks, separators=(",", ":")).encode()
        key_file.replace(self._files, self._keks, KEKS_MAGIC, payload)


def _names_keks(fields: dict[str, Any]) -> bool:
    """Whether a certificate lists keys that are yet to be destroyed."""
    try:
        waiting = [one["key_id"] for one in fields["key_encryption_keys"] if not one["destroyed"]]
    except (KeyError, TypeError):
        return False
    return bool(waiting) and all(isinstance(one, str) for one in (*waiting, fields.get("pending_until")))
