"""Who issued a certificate or a revocation list, as OpenSSL sees it: by name and signature. Pure.

The crypto library's own check compares names byte by byte, and so would refuse chains that OpenSSL accepts.
It must not judge dates, purposes or trust.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1

Name = tuple[frozenset[tuple[str, str]], ...]


def comparable(name: x509.Name) -> Name:
    """The name as RFC 5280 7.1 compares it: letter case and runs of spaces mean nothing."""
    return tuple(
        frozenset((one.oid.dotted_string, _folded(one.value)) for one in relative) for relative in name.rdns
    )


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the name and the signature say that `issuer` issued it; signatures over SHA-1 say nothing."""
    if comparable(certificate.issuer) != comparable(issuer.subject):
        return False
    try:
        key = issuer.public_key()
        parameters = certificate.signature_algorithm_parameters
        signature, signed = certificate.signature, certificate.tbs_certificate_bytes
        digest = certificate.signature_hash_algorithm
        if isinstance(digest, SHA1):
            return False
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(signature, signed, parameters)
        elif isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, padding.PKCS1v15 | padding.PSS):
            assert digest is not None
            key.verify(signature, signed, parameters, digest)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def list_issued_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """The same for a revocation list."""
    if comparable(crl.issuer) != comparable(issuer.subject):
        return False
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # others raise
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _folded(value: str | bytes) -> str:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value.hex()
