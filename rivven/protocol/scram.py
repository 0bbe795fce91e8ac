"""SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) for both sides: keys, messages, proofs.

    client-first  n,[a=authzid],n=user,r=cnonce[,tokenauth=true]
    server-first  r=cnonce snonce,s=base64(salt),i=iterations
    client-final  c=base64(gs2 header),r=cnonce snonce,p=base64(proof)
    server-final  v=base64(server signature)

Nonces are parameters, so nothing here is random. There is no SASLprep: Kafka clients hash the UTF-8 bytes
of a password as they are, and a broker that normalised would refuse passwords its clients accept. Channel
binding does not exist in Kafka, so only `n,` is accepted. Parsers raise ScramError for anything RFC 5802
does not allow; error texts never repeat what the peer sent. This module must not look up a user or decide
what a failure costs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from rivven.protocol.exceptions import ScramError

ITERATIONS_MIN: Final = 4096
"""RFC 7677's floor; every client refuses less."""

ITERATIONS_MAX: Final = 1_000_000
"""A server that asks for more freezes its clients (GHSA-2jcm-hq8r-84wx); some clients refuse more too."""

MESSAGE_BYTES_MAX: Final = 8192
"""Longest message parsed: a delegation token id and two nonces are far below it."""

_NONCE: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+")


class ScramMechanism(Enum):
    """The value is the name in SaslHandshake; `code` is the number in KIP-554's APIs."""

    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"

    @property
    def code(self) -> int:
        """1 for SHA-256, 2 for SHA-512."""
        return 1 if self is ScramMechanism.SCRAM_SHA_256 else 2

    @property
    def hash_name(self) -> str:
        """The name `hashlib` knows."""
        return "sha256" if self is ScramMechanism.SCRAM_SHA_256 else "sha512"

    @property
    def key_bytes(self) -> int:
        """Length of salted password, keys and proofs."""
        return 32 if self is ScramMechanism.SCRAM_SHA_256 else 64

    @classmethod
    def from_code(cls, code: int) -> ScramMechanism | None:
        """The mechanism of a KIP-554 number, None for an unknown one."""
        return {1: cls.SCRAM_SHA_256, 2: cls.SCRAM_SHA_512}.get(code)


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a server stores instead of a password. Raises ValueError for impossible sizes."""

    mechanism: ScramMechanism
    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not ITERATIONS_MIN <= self.iterations <= ITERATIONS_MAX:
            raise ValueError(f"SCRAM iterations must be {ITERATIONS_MIN} to {ITERATIONS_MAX}")
        if not self.salt:
            raise ValueError("SCRAM salt is empty")
        if (
            len(self.stored_key) != self.mechanism.key_bytes
            or len(self.server_key) != self.mechanism.key_bytes
        ):
            raise ValueError(f"SCRAM keys of {self.mechanism.value} are {self.mechanism.key_bytes} bytes")


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The first message: `gs2_header` and `bare` are the two parts RFC 5802 refers to later."""

    gs2_header: str
    bare: str = field(repr=False)
    username: str
    authzid: str
    nonce: str = field(repr=False)
    token_auth: bool

    @property
    def message(self) -> bytes:
        """The bytes on the wire."""
        return (self.gs2_header + self.bare).encode()


@dataclass(frozen=True, slots=True)
class ServerFirst:
    """The challenge. `nonce` is the client's followed by the server's."""

    nonce: str = field(repr=False)
    salt: bytes = field(repr=False)
    iterations: int
    text: str = field(repr=False)

    @property
    def message(self) -> bytes:
        """The bytes on the wire."""
        return self.text.encode()


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """The proof. `without_proof` is the part of the message that is signed."""

    channel_binding: str = field(repr=False)
    nonce: str = field(repr=False)
    proof: bytes = field(repr=False)
    without_proof: str = field(repr=False)


# -- keys
# ------------------------------------------------------------------------------------------------------


def salted_password(mechanism: ScramMechanism, password: str, salt: bytes, iterations: int) -> bytes:
    """Hi(password, salt, iterations) of RFC 5802: PBKDF2, about 0.3 s for a million rounds, GIL released."""
    return hashlib.pbkdf2_hmac(mechanism.hash_name, password.encode(), salt, iterations)


def derive_verifier(mechanism: ScramMechanism, password: str, salt: bytes, iterations: int) -> ScramVerifier:
    """The verifier of a password. Raises ValueError for iterations out of bounds or an empty salt."""
    if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise ValueError(f"SCRAM iterations must be {ITERATIONS_MIN} to {ITERATIONS_MAX}")
    salted = salted_password(mechanism, password, salt, iterations)
    return verifier_from_salted_password(mechanism, salted, salt, iterations)


def verifier_from_salted_password(
    mechanism: ScramMechanism, salted: bytes, salt: bytes, iterations: int
) -> ScramVerifier:
    """The verifier of what AlterUserScramCredentials carries (KIP-554: the password never travels)."""
    if len(salted) != mechanism.key_bytes:
        raise ValueError(f"a salted password of {mechanism.value} is {mechanism.key_bytes} bytes")
    client_key = _hmac(mechanism, salted, b"Client Key")
    stored_key = hashlib.new(mechanism.hash_name, client_key).digest()
    return ScramVerifier(mechanism, salt, iterations, stored_key, _hmac(mechanism, salted, b"Server Key"))


def format_verifier(verifier: ScramVerifier) -> str:
    """`$scram-sha-256$<iterations>$<salt>$<stored key>$<server key>`, the last three in base64."""
    parts = (verifier.salt, verifier.stored_key, verifier.server_key)
    encoded = "$".join(b64encode(part).decode() for part in parts)
    return f"${verifier.mechanism.value.lower()}${verifier.iterations}${encoded}"


def parse_verifier(text: str) -> ScramVerifier:
    """The inverse of `format_verifier`. Raises ValueError with a reason that does not repeat the text."""
    parts = text.split("$")
    if len(parts) != 6 or parts[0]:
        raise ValueError("a SCRAM verifier has five fields, each after a '$'")
    names = {mechanism.value.lower(): mechanism for mechanism in ScramMechanism}
    mechanism = names.get(parts[1])
    if mechanism is None:
        raise ValueError("a SCRAM verifier starts with $scram-sha-256$ or $scram-sha-512$")
    if not re.fullmatch(r"[1-9][0-9]{0,6}", parts[2]):
        raise ValueError("SCRAM iterations are not a number")
    try:
        salt, stored_key, server_key = map(_base64, parts[3:])
    except ScramError:
        raise ValueError("salt and keys of a SCRAM verifier are base64") from None
    return ScramVerifier(mechanism, salt, int(parts[2]), stored_key, server_key)


# -- the server's side
# -----------------------------------------------------------------------------------------


def parse_client_first(message: bytes) -> ClientFirst:
    """Read a client-first message; `authzid` is empty or equals `username`."""
    text = _text(message)
    if not text.startswith("n,"):
        raise ScramError("client-first: channel binding is not offered, the message must start with 'n,'")
    authzid_field, comma, bare = text[2:].partition(",")
    if not comma or (authzid_field and not authzid_field.startswith("a=")):
        raise ScramError("client-first: malformed GS2 header")
    authzid = _name(authzid_field[2:], "authzid") if authzid_field else ""
    attributes = bare.split(",")
    if attributes[0].startswith("m="):
        raise ScramError("client-first: mandatory extensions are not supported")
    if len(attributes) < 2 or not attributes[0].startswith("n=") or not attributes[1].startswith("r="):
        raise ScramError("client-first: user name and nonce expected, in this order")
    username = _name(attributes[0][2:], "user name")
    nonce = _nonce(attributes[1][2:])
    if authzid and authzid != username:
        raise ScramError("client-first: acting as another user is not supported")
    token_auth = _token_auth(attributes[2:])
    return ClientFirst(text[: len(text) - len(bare)], bare, username, authzid, nonce, token_auth)


def server_first(client: ClientFirst, verifier: ScramVerifier, server_nonce: str) -> ServerFirst:
    """The challenge for a client-first. `server_nonce`: at least 128 random bits as printable ASCII, no
    comma."""
    if not _NONCE.fullmatch(server_nonce):
        raise ValueError("a nonce is printable ASCII without commas")
    nonce = client.nonce + server_nonce
    text = f"r={nonce},s={b64encode(verifier.salt).decode()},i={verifier.iterations}"
    return ServerFirst(nonce, verifier.salt, verifier.iterations, text)


def parse_client_final(message: bytes) -> ClientFinal:
    """Read a client-final message: exactly `c=`, `r=` and `p=`, in this order."""
    attributes = _text(message).split(",")
    if len(attributes) != 3 or [item[:2] for item in attributes] != ["c=", "r=", "p="]:
        raise ScramError("client-final: c=, r= and p= expected, in this order and nothing else")
    channel_binding, nonce, proof = (item[2:] for item in attributes)
    return ClientFinal(channel_binding, _nonce(nonce), _base64(proof), ",".join(attributes[:2]))


def verify_client_final(
    verifier: ScramVerifier, first: ClientFirst, challenge: ServerFirst, final: ClientFinal
) -> bytes:
    """Check channel binding, nonce and proof; returns the server-final message.

    The proof is computed and compared also when another check failed, so that all failures take the same
    time. Raises ScramError.
    """
    binding = b64encode(first.gs2_header.encode()).decode()
    same_binding = hmac.compare_digest(final.channel_binding.encode(), binding.encode())
    same_nonce = hmac.compare_digest(final.nonce.encode(), challenge.nonce.encode())
    # librdkafka before 2.6.1 (Debian's kcat) puts its own nonce in front once more (librdkafka#4895).
    same_nonce |= hmac.compare_digest(final.nonce.encode(), (first.nonce + challenge.nonce).encode())
    signed = _auth_message(first, challenge, final.without_proof)
    signature = _hmac(verifier.mechanism, verifier.stored_key, signed)
    client_key = _xor(signature, final.proof) if len(final.proof) == len(signature) else b""
    stored_key = hashlib.new(verifier.mechanism.hash_name, client_key).digest()
    same_key = hmac.compare_digest(stored_key, verifier.stored_key)
    if not same_binding:
        raise ScramError("client-final: channel binding does not match the GS2 header")
    if not same_nonce:
        raise ScramError("client-final: nonce is not the one of the challenge")
    if not same_key:
        raise ScramError("client-final: wrong proof")
    return b"v=" + b64encode(_hmac(verifier.mechanism, verifier.server_key, signed))


# -- the client's side
# -----------------------------------------------------------------------------------------


def client_first(username: str, nonce: str, *, token_auth: bool = False) -> ClientFirst:
    """The first message of a user; `token_auth` logs in with a delegation token id (KIP-48)."""
    if not username or "\0" in username or not _NONCE.fullmatch(nonce):
        raise ValueError("a user name is not empty and has no NUL; a nonce is printable ASCII without commas")
    name = username.replace("=", "=3D").replace(",", "=2C")
    bare = f"n={name},r={nonce}" + (",tokenauth=true" if token_auth else "")
    return ClientFirst("n,,", bare, username, "", nonce, token_auth)


def parse_server_first(message: bytes, first: ClientFirst) -> ServerFirst:
    """Read a challenge and check that its nonce extends ours and its iterations are sane."""
    text = _text(message)
    attributes = text.split(",")
    if attributes[0].startswith("e="):
        raise ScramError("server-first: the server refused")
    if len(attributes) != 3 or [item[:2] for item in attributes] != ["r=", "s=", "i="]:
        raise ScramError("server-first: r=, s= and i= expected, in this order and nothing else")
    nonce, salt, iterations = (item[2:] for item in attributes)
    if not _nonce(nonce).startswith(first.nonce) or len(nonce) == len(first.nonce):
        raise ScramError("server-first: nonce does not extend the client's")
    if not re.fullmatch(r"[1-9][0-9]{0,6}", iterations):
        raise ScramError("server-first: iterations are not a number")
    if not ITERATIONS_MIN <= int(iterations) <= ITERATIONS_MAX:
        raise ScramError(f"server-first: iterations are not {ITERATIONS_MIN} to {ITERATIONS_MAX}")
    decoded = _base64(salt)
    if not decoded:
        raise ScramError("server-first: salt is empty")
    return ServerFirst(nonce, decoded, int(iterations), text)


def client_final(
    mechanism: ScramMechanism, password: str, first: ClientFirst, challenge: ServerFirst
) -> tuple[bytes, bytes]:
    """(client-final message, server-final message to expect); costs one PBKDF2."""
    salted = salted_password(mechanism, password, challenge.salt, challenge.iterations)
    verifier = verifier_from_salted_password(mechanism, salted, challenge.salt, challenge.iterations)
    without_proof = f"c={b64encode(first.gs2_header.encode()).decode()},r={challenge.nonce}"
    signed = _auth_message(first, challenge, without_proof)
    client_key = _hmac(mechanism, salted, b"Client Key")
    proof = _xor(client_key, _hmac(mechanism, verifier.stored_key, signed))
    expected = b"v=" + b64encode(_hmac(mechanism, verifier.server_key, signed))
    return f"{without_proof},p={b64encode(proof).decode()}".encode(), expected


def verify_server_final(message: bytes, expected: bytes) -> None:
    """The server knows the password too, or ScramError."""
    if not hmac.compare_digest(message, expected):
        raise ScramError("server-final: the server refused, or does not know the password")


# -- pieces
# ----------------------------------------------------------------------------------------------------


def _auth_message(first: ClientFirst, challenge: ServerFirst, without_proof: str) -> bytes:
    return f"{first.bare},{challenge.text},{without_proof}".encode()


def _hmac(mechanism: ScramMechanism, key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, mechanism.hash_name)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))


def _text(message: bytes) -> str:
    if len(message) > MESSAGE_BYTES_MAX:
        raise ScramError(f"SCRAM message of {len(message)} bytes, at most {MESSAGE_BYTES_MAX}")
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ScramError("SCRAM message is not UTF-8") from None
    if "\0" in text:
        raise ScramError("SCRAM message contains NUL")
    return text


def _name(encoded: str, what: str) -> str:
    """Decode a saslname: comma is =2C, equals sign is =3D, and '=' stands for nothing else."""
    pieces = encoded.split("=")
    if not encoded or any(piece[:2] not in ("2C", "3D") for piece in pieces[1:]):
        raise ScramError(f"client-first: {what} is empty or not a saslname")
    decoded = (("," if piece[:2] == "2C" else "=") + piece[2:] for piece in pieces[1:])
    return pieces[0] + "".join(decoded)


def _nonce(text: str) -> str:
    if not _NONCE.fullmatch(text):
        raise ScramError("nonce is empty or not printable ASCII")
    return text


def _token_auth(extensions: list[str]) -> bool:
    """`tokenauth` is the only extension Kafka knows; anything else, or it twice, is refused."""
    if not extensions:
        return False
    key, equals, value = extensions[0].partition("=")
    if len(extensions) > 1 or key != "tokenauth" or not equals or value.lower() not in ("true", "false"):
        raise ScramError("client-first: unknown or repeated attribute")
    return value.lower() == "true"


def _base64(text: str) -> bytes:
    """Strict base64: canonical alphabet, padding and trailing bits (one value has one spelling)."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        raise ScramError("malformed base64") from None
    if b64encode(decoded).decode() != text:
        raise ScramError("base64 is not in canonical form")
    return decoded
