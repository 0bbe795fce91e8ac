"""The text of an API token, its secret, and what is stored instead of it.

    rvn_ <id, 16 of a-z 2-7> <secret, 43 of 0-9 A-Z a-z> <checksum, 6 of 0-9 A-Z a-z>

The id is 80 random bits in base32, the secret 256 random bits as a number in base 62, the checksum the CRC-32
of everything before it in base 62, so that a typo or a cut-off paste is told apart without asking a server,
and a scanner of repositories finds a leaked one by ``rvn_[0-9A-Za-z]{65}``. No character needs quoting
anywhere. Pure; nothing here is logged and no error repeats the text.
"""

from __future__ import annotations

import hmac
import re
import zlib
from base64 import b32encode, b64encode
from dataclasses import dataclass, field

from rivven.protocol.scram import ScramMechanism, ScramVerifier, derive_verifier
from rivven.security.authn.authenticator import Entropy

PREFIX = "rvn_"
SECRET_BYTES = 32
KEY_BYTES = 32

HASH_KEYS_MAX = 16
"""Keys of token hashes: a login by a token's text costs one hash, about 2 µs, with each."""

SCRAM_ITERATIONS = 4_096
"""The fewest every client takes (kafka.md 2.7): 256 random bits need no slow hash, and clients pay for it."""

SALT_BYTES = 32

_ID_BYTES, _ID_LENGTH = 10, 16
_SECRET_LENGTH, _CHECKSUM_LENGTH = 43, 6
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_FORM = re.compile(
    rf"rvn_([a-z2-7]{{{_ID_LENGTH}}})([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)
_ID = re.compile(rf"[a-z2-7]{{{_ID_LENGTH}}}")

TEXT_LENGTH = len(PREFIX) + _ID_LENGTH + _SECRET_LENGTH + _CHECKSUM_LENGTH


class MalformedToken(ValueError):
    """A text that is no token; the message says what is wrong and does not repeat it."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """What is shown once to whoever asked for the token."""

    token_id: str
    secret: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The token as clients send it."""
        return format_token(self.token_id, self.secret)

    @property
    def kafka_password(self) -> str:
        """The password of SCRAM with ``tokenauth=true``; the user name is the id (KIP-48)."""
        return b64encode(self.secret).decode()


def looks_like_token(text: str) -> bool:
    """Whether a password or bearer text is meant to be a token, well formed or not."""
    return text.startswith(PREFIX)


def is_token_id(text: str) -> bool:
    """Whether a text has the form of a token's id."""
    return _ID.fullmatch(text) is not None


def new_token(entropy: Entropy) -> NewToken:
    """A token that never was."""
    return NewToken(b32encode(entropy(_ID_BYTES)).decode().lower(), entropy(SECRET_BYTES))


def format_token(token_id: str, secret: bytes) -> str:
    """The text form. Raises ValueError for an id or secret of another size."""
    if not is_token_id(token_id) or len(secret) != SECRET_BYTES:
        raise ValueError("a token has an id of 16 characters and a secret of 32 bytes")
    body = PREFIX + token_id + _base62(int.from_bytes(secret), _SECRET_LENGTH)
    return body + _checksum(body)


def parse_token(text: str) -> tuple[str, bytes]:
    """(id, secret) of a token's text. Raises MalformedToken."""
    if not looks_like_token(text):
        raise MalformedToken(f"a token begins with {PREFIX}")
    if len(text) != TEXT_LENGTH:
        raise MalformedToken(f"a token has {TEXT_LENGTH} characters, this text has {len(text)}")
    match = _FORM.fullmatch(text)
    if match is None:
        raise MalformedToken("a character that no token has")
    if not hmac.compare_digest(_checksum(text[:-_CHECKSUM_LENGTH]), match[3]):
        raise MalformedToken("the checksum does not match: the token was mistyped")
    value = _number(match[2])
    if value >= 1 << (8 * SECRET_BYTES):
        raise MalformedToken("the secret is out of range")
    return match[1], value.to_bytes(SECRET_BYTES)


class TokenHashKey:
    """The secret key under which tokens' secrets are hashed (the secret `token-hash`)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a token hash key has {KEY_BYTES} bytes")
        self._key = key
        self.key_id = hmac.digest(key, b"rivven token hash key id", "sha256")[:6].hex()
        """Tells keys apart without revealing them."""

    def digest(self, secret: bytes) -> bytes:
        """What is stored of a secret: 32 bytes. The secret has 256 bits, so no slow hash is needed."""
        return hmac.digest(self._key, b"rivven token\0" + secret, "sha256")

    def decoy_key(self) -> bytes:
        """The key of the challenges that unknown token ids get."""
        return hmac.digest(self._key, b"rivven token decoys", "sha256")


class TokenHashKeys:
    """The keys of token hashes: new secrets are hashed under the newest, those before it still count."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is `token-hash` as it is kept: keys of KEY_BYTES, the newest first. Raises ValueError."""
        self._keys = _split_keys(secret)

    def replace(self, secret: bytes) -> None:
        """Go by other keys from now on. Raises ValueError."""
        self._keys = _split_keys(secret)

    @property
    def key_id(self) -> str:
        """The id of the newest."""
        return self._keys[0].key_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of all, the newest first."""
        return tuple(key.key_id for key in self._keys)

    def digest(self, secret: bytes) -> bytes:
        """What is stored of a new secret."""
        return self._keys[0].digest(secret)

    def digests(self, secret: bytes) -> dict[str, bytes]:
        """What may be stored of a secret, by the id of the key."""
        return {key.key_id: key.digest(secret) for key in self._keys}

    def decoy_key(self) -> bytes:
        """The key of the challenges that unknown ids get: of the oldest, so that a rotation changes none of
        them. If it changed them all, the ids whose challenge stays would be those of tokens."""
        return self._keys[-1].decoy_key()


def _split_keys(secret: bytes) -> tuple[TokenHashKey, ...]:
    count, rest = divmod(len(secret), KEY_BYTES)
    if rest or not 0 < count <= HASH_KEYS_MAX:
        raise ValueError(f"{len(secret)} bytes are not 1 to {HASH_KEYS_MAX} keys of {KEY_BYTES}")
    return tuple(TokenHashKey(secret[at * KEY_BYTES : (at + 1) * KEY_BYTES]) for at in range(count))


def token_verifiers(secret: bytes, salt: bytes) -> tuple[ScramVerifier, ...]:
    """SCRAM verifiers of a secret's base64. Two PBKDF2 runs, about 5 ms: not on the event loop."""
    password = b64encode(secret).decode()
    return tuple(derive_verifier(mechanism, password, salt, SCRAM_ITERATIONS) for mechanism in ScramMechanism)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * len(_DIGITS) + _VALUES[digit]
    return value
