"""Erasure certificates: what was erased, by whom, under which keys, and what that does not cover.

Pure. A certificate is one JSON object; its signature is Ed25519 over the canonical form of the object without
the field ``signature``: keys sorted, no white space, ASCII with escapes (``jq -acSj 'del(.signature)'``).
Drawn in docs/formats.md. It states its limits, because whoever reads it was not there.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rivven.security.keys.erasure import Erasure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT: Final = "rivven-erasure-certificate"
VERSION: Final = 1
CERTIFICATE_BYTES_MAX: Final = 64 << 20
"""A certificate with every listed segment has some 3 MB; stops a wrong file from filling memory."""

COMPLETE: Final = "complete"
PENDING: Final = "pending"

STATEMENT: Final = (
    "The topic was deleted and its topic keys were removed from the key store. Every other key was wrapped"
    " anew under a fresh key-encryption key, and the older key-encryption keys were destroyed at the provider"
    " or are pending destruction there, as listed. Without them the listed segments cannot be decrypted,"
    " neither where they were stored nor in any earlier copy of the data directory."
)

LIMITS: Final = (
    "copies of the key store (or of a keyring file) that someone kept together with a key-encryption key that"
    " is still alive, or with a copy of one",
    "plaintext that consumers had fetched, or that producers kept",
    "memory that the operating system wrote to swap, to a hibernation image or to a core dump",
    "the names, times, counts and sizes that stay readable beside encrypted records",
    "the same records in other topics, tiered or mirrored under other keys, and in other clusters",
    "key material that a storage device or file system kept when a file was replaced, if the"
    " key-encryption keys themselves were kept in that file",
)

Sign = Callable[[bytes], bytes]


class CertificateRefused(ValueError):
    """A certificate that proves nothing: malformed, signed with another key, or changed."""


class Verified(NamedTuple):
    """What a good certificate says."""

    fields: dict[str, Any]
    key_id: str


def certificate_of(erasure: Erasure, key_id: str, sign: Sign) -> bytes:
    """The signed certificate of an erasure whose keys are destroyed; the same bytes each time."""
    return _signed(_fields(erasure), key_id, sign)


def completion_of(
    pending: dict[str, Any], certificate_id: str, completed_ms: int, key_id: str, sign: Sign
) -> bytes:
    """The signed certificate that completes a `pending` one, whose fields it repeats, once the provider has
    destroyed the last key. The first one stays what it is: this one names it."""
    keks = [{**one, "destroyed": True} for one in pending["key_encryption_keys"]]
    fields = {
        **pending,
        "certificate_id": certificate_id,
        "completes": pending["certificate_id"],
        "completed_at": timestamp(completed_ms),
        "state": COMPLETE,
        "pending_until": None,
        "key_encryption_keys": keks,
    }
    return _signed(fields, key_id, sign)


def signing_key_of(content: bytes) -> str:
    """The id of the key a certificate says it was signed with. Raises CertificateRefused."""
    return str(_parsed(content)[1]["key_id"])


def _signed(fields: dict[str, Any], key_id: str, sign: Sign) -> bytes:
    value = b64encode(sign(canonical(fields))).decode("ascii")
    signed = {**fields, "signature": {"algorithm": "Ed25519", "key_id": key_id, "value": value}}
    return json.dumps(signed, indent=2, sort_keys=True).encode("ascii") + b"\n"


def canonical(fields: dict[str, Any]) -> bytes:
    """The bytes that are signed."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def verify(content: bytes, public_pem: bytes) -> Verified:
    """Check a certificate with an exported public key. Raises CertificateRefused."""
    from cryptography.exceptions import InvalidSignature

    if len(content) > CERTIFICATE_BYTES_MAX:
        raise CertificateRefused("the file is too large to be an erasure certificate")
    fields, signature = _parsed(content)
    public = _public_key(public_pem)
    try:
        public.verify(b64decode(signature["value"], validate=True), canonical(fields))
    except InvalidSignature:
        known = key_id_of(public.public_bytes_raw())
        if signature["key_id"] != known:
            raise CertificateRefused(
                f"it was signed with key {str(signature['key_id'])[:80]}, the public key given is {known}"
            ) from None
        raise CertificateRefused("the signature does not match: the certificate was changed") from None
    except (ValueError, TypeError):
        raise CertificateRefused("the signature is not base64") from None
    return Verified(fields, key_id_of(public.public_bytes_raw()))


def key_id_of(raw: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of a raw public key, as in the audit log."""
    return hashlib.sha256(raw).hexdigest()[:16]


def _parsed(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        fields = json.loads(content, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CertificateRefused):
            raise
        raise CertificateRefused("it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CertificateRefused("it is not an erasure certificate of Rivven")
    if fields.get("version") != VERSION:
        raise CertificateRefused(f"format {fields.get('version')!r}, this version reads {VERSION}")
    signature = fields.pop("signature", None)
    if not isinstance(signature, dict) or signature.keys() != {"algorithm", "key_id", "value"}:
        raise CertificateRefused("it is not signed")
    if signature["algorithm"] != "Ed25519":
        raise CertificateRefused("it is not signed with Ed25519")
    return fields, signature


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON allows a name twice, and readers disagree about which counts; a signed document must not."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CertificateRefused("a name stands twice in it")
    return found


def _public_key(pem: bytes) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateRefused("the public key is not PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateRefused("the public key is not an Ed25519 key")
    return key


def _fields(erasure: Erasure) -> dict[str, Any]:
    assert erasure.finished_ms is not None, "a certificate is written when the keys are destroyed"
    until = erasure.pending_until_ms
    partitions = [asdict(one) for one in erasure.partitions]
    listed = all(len(one.segments) == one.segment_count for one in erasure.partitions)
    return {
        "format": FORMAT,
        "version": VERSION,
        "certificate_id": erasure.id,
        "cluster_id": erasure.cluster_id,
        "topic": {"name": erasure.topic, "topic_id": str(erasure.topic_id)},
        "requested_by": erasure.principal,
        "requested_at": timestamp(erasure.requested_ms),
        "finished_at": timestamp(erasure.finished_ms),
        "state": COMPLETE if until is None else PENDING,
        "pending_until": None if until is None else timestamp(until),
        "partitions": partitions,
        "segments_listed": listed,
        "topic_keys": list(erasure.topic_key_ids),
        "key_encryption_keys": [
            {
                "provider": erasure.provider,
                "key_id": one.key_id,
                "destroyed": one.until_ms is None,
                "destroyed_from": None if one.until_ms is None else timestamp(one.until_ms),
            }
            for one in erasure.old_keks
        ],
        "plaintext_history": erasure.plaintext_history,
        "plaintext_history_accepted": erasure.accepted_plaintext,
        "statement": STATEMENT,
        "does_not_cover": [*_PLAINTEXT_LIMIT[: erasure.plaintext_history], *LIMITS],
    }


_PLAINTEXT_LIMIT: Final = (
    "records of the partitions with plaintext_history: they were stored unencrypted, and a copy or the free"
    " blocks of a disk may still hold them",
)


def timestamp(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
