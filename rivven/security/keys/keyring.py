"""What a keyring file holds: KEKs by name, and how that is sealed with a passphrase. Pure.

    keyring     u32 number of KEKs, then for each, oldest first:
                u8 length, name | u8 length, id | created u64 ms | state u8 (1 enabled, 0 destroyed) | key 32
    sealed one  salt 16 | passes u32 | memory u32 KiB | lanes u32 | nonce 12 | AES-256-GCM(keyring) | tag 16

Big endian. The key of a sealed one is Argon2id (RFC 9106) of the passphrase; salt and costs are associated
data. The current KEK of a name is the newest one that is not destroyed. A destroyed KEK leaves its line, with
zeros for a key, so that its id is never given again and destroying it twice is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from rivven.security.keys.provider import KekState, KeyGone, KeyRefused

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
KEKS_MAX: Final = 10_000
"""KEKs of one file: one a day for 27 years."""

PASSES, MEMORY_KIB, LANES = 3, 65_536, 4
"""The second recommended set of RFC 9106 section 4; about a tenth of a second, once per start."""
_COSTS_MAX: Final = (100, 1 << 20, 64)
"""What is believed of a file: a gibibyte of memory and seconds of work."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,128}")
_count = Struct(">I")
_entry = Struct(f">QB{KEY_BYTES}s")
_costs = Struct(f">{SALT_BYTES}sIII")


class KeyringUnreadable(ValueError):
    """Bytes that are no keyring; the text says why, without repeating them."""


@dataclass(slots=True)
class Kek:
    """One key encryption key."""

    name: str
    key_id: str
    created_ms: int
    destroyed: bool
    key: bytearray = field(repr=False)

    @property
    def state(self) -> KekState:
        """As a provider says it."""
        return "destroyed" if self.destroyed else "enabled"

    def wipe(self) -> None:
        """Overwrite the key in memory."""
        self.key[:] = bytes(len(self.key))


@dataclass(frozen=True, slots=True)
class PassphraseCosts:
    """Salt and costs of Argon2id."""

    salt: bytes = field(repr=False)
    passes: int = PASSES
    memory_kib: int = MEMORY_KIB
    lanes: int = LANES

    def encode(self) -> bytes:
        return _costs.pack(self.salt, self.passes, self.memory_kib, self.lanes)


class Keyring:
    """The KEKs of a file. Changes are made to the object; its owner stores it."""

    def __init__(self, keks: Iterable[Kek] = ()) -> None:
        self._keks = list(keks)

    def current(self, name: str) -> Kek:
        """The KEK that wraps. Raises KeyGone when the name has none."""
        for kek in reversed(self._keks):
            if kek.name == name and not kek.destroyed:
                return kek
        raise KeyGone(f"the keyring has no key {name!r}" if name else "the keyring has no key")

    def find(self, key_id: str) -> Kek | None:
        """A KEK by its id, destroyed ones too."""
        return next((kek for kek in self._keks if kek.key_id == key_id), None)

    def of(self, name: str) -> list[Kek]:
        """The KEKs of a name, oldest first."""
        return [kek for kek in self._keks if kek.name == name]

    def add(self, name: str, key: bytearray, now_ms: int, suffix: str) -> Kek:
        """A new KEK, current from now on. `suffix` is random: two copies of a keyring that are both used on
        never call different keys the same. Raises KeyRefused."""
        if not _NAME.fullmatch(name):
            raise KeyRefused("the name of a key is at most 128 of A-Z a-z 0-9 . _ -")
        if len(self._keks) >= KEKS_MAX:
            raise KeyRefused(f"the keyring has {KEKS_MAX} keys already")
        label = f"{name}:" if name else ""
        kek = Kek(name, f"{label}k{len(self.of(name)) + 1}-{suffix}", now_ms, False, key)
        self._keks.append(kek)
        return kek

    def destroy(self, key_id: str) -> None:
        """Forget a KEK's bytes. Raises KeyGone for one never heard of, KeyRefused for the current one."""
        kek = self.find(key_id)
        if kek is None:
            raise KeyGone(f"the keyring has no key {key_id}")
        if not kek.destroyed and kek is self.current(kek.name):
            raise KeyRefused(f"{key_id} is the current key: rotate first")
        kek.destroyed = True
        kek.wipe()

    def wipe(self) -> None:
        """Overwrite every key in memory."""
        for kek in self._keks:
            kek.wipe()

    def encode(self) -> bytearray:
        """The bytes of the file; the caller overwrites them after use."""
        content = bytearray(_count.pack(len(self._keks)))
        for kek in self._keks:
            for text in (kek.name, kek.key_id):
                content.append(len(text))
                content += text.encode("ascii")
            content += _entry.pack(kek.created_ms, not kek.destroyed, kek.key)
        return content


def decode(content: bytes | bytearray) -> Keyring:
    """The keyring in the bytes of a file. Raises KeyringUnreadable."""
    reader = _Reader(content)
    count = int(_count.unpack(reader.take(_count.size))[0])
    if count > KEKS_MAX:
        raise KeyringUnreadable(f"claims {count} keys")
    keks = []
    for _ in range(count):
        name, key_id = reader.text(), reader.text()
        created_ms, enabled, key = _entry.unpack(reader.take(_entry.size))
        keks.append(Kek(name, key_id, created_ms, not enabled, bytearray(key)))
    if not reader.ended:
        raise KeyringUnreadable("has bytes behind its end")
    return Keyring(keks)


def split_sealed(payload: bytes) -> tuple[PassphraseCosts, bytes, bytes]:
    """(costs, nonce, sealed keyring) of a keyring with a passphrase. Raises KeyringUnreadable."""
    least = _costs.size + NONCE_BYTES + TAG_BYTES
    if len(payload) < least:
        raise KeyringUnreadable(f"{len(payload)} bytes are fewer than {least}")
    costs = PassphraseCosts(*_costs.unpack_from(payload))
    given = (costs.passes, costs.memory_kib, costs.lanes)
    if min(given) < 1 or any(one > most for one, most in zip(given, _COSTS_MAX, strict=True)):
        raise KeyringUnreadable("asks for more work than any keyring is made with")
    sealed_at = _costs.size + NONCE_BYTES
    return costs, payload[_costs.size : sealed_at], payload[sealed_at:]


class _Reader:
    """Takes bytes from the front."""

    def __init__(self, content: bytes | bytearray) -> None:
        self._content = content
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._content)

    def take(self, size: int) -> bytes:
        taken = bytes(self._content[self._at : self._at + size])
        if len(taken) != size:
            raise KeyringUnreadable("is cut short")
        self._at += size
        return taken

    def text(self) -> str:
        try:
            return self.take(self.take(1)[0]).decode("ascii")
        except UnicodeDecodeError:
            raise KeyringUnreadable("has a name that is no text") from None
