"""Whether a server's chain may be put in the place of the one before it: dates, and who issued what. Pure.

Looked at before a reload only: a start has nothing else to fall back on, and takes what there is. It must not
ask who trusts the chain, since a server cannot know what its clients trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rivven.security.certificate import MalformedCertificate, validity


def chain_end_ms(chain: Sequence[bytes]) -> int:
    """When the first certificate of a chain (DER) ends, wall-clock milliseconds. Raises
    MalformedCertificate."""
    return min(int(validity(der)[1].timestamp() * 1000) for der in chain)


def chain_problem(chain: Sequence[bytes], now_ms: int) -> str | None:
    """Why clients would refuse this chain (DER, the server's own certificate first), None when nothing is
    wrong with it."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        for number, der in enumerate(chain, 1):
            begin, end = validity(der)
            if now >= end:
                return f"certificate {number} ended at {end:%Y-%m-%dT%H:%M:%SZ}"
            if now < begin:
                return f"certificate {number} begins at {begin:%Y-%m-%dT%H:%M:%SZ}"
    except MalformedCertificate as error:
        return str(error)
    return _order_problem(chain) if len(chain) > 1 else None


def _order_problem(chain: Sequence[bytes]) -> str | None:
    """Every further certificate must have issued one before it (RFC 8446 4.4.2 allows any order of those)."""
    from cryptography import x509  # a start does not come here

    from rivven.security.x509_signatures import issued_by

    try:
        parsed = [x509.load_der_x509_certificate(der) for der in chain]
        for number, issuer in enumerate(parsed[1:], 2):
            if not any(issued_by(one, issuer) for one in parsed if one is not issuer):
                return f"certificate {number} issued none of the others"
    except (ValueError, x509.InvalidVersion) as error:
        return f"a certificate cannot be read: {error}"
    return None
