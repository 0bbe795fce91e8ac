"""The key map: what was put is found, growth keeps it, and it is full at its bound."""

from __future__ import annotations

from rivven.log.compaction_map import ENTRY_BYTES, SLOTS_FIRST, SLOTS_MIN, KeyMap


def test_later_offsets_replace_earlier_ones() -> None:
    keys = KeyMap(1 << 20, b"secret")
    assert keys.last_offset(b"a") == -1
    assert keys.put(b"a", 0)
    assert keys.last_offset(b"a") == 0
    assert keys.put(b"a", 2**62)
    assert keys.put(b"", 5)
    assert (keys.last_offset(b"a"), keys.last_offset(b""), keys.size) == (2**62, 5, 2)
    keys.close()


def test_growing_keeps_every_key() -> None:
    keys = KeyMap(1 << 20, b"secret")
    count = SLOTS_FIRST * 8
    for offset in range(count):
        assert keys.put(b"key-%d" % offset, offset)
    assert [keys.last_offset(b"key-%d" % offset) for offset in range(count)] == list(range(count))
    assert keys.last_offset(b"key-x") == -1
    assert keys.size == count


def test_a_full_map_refuses_new_keys_and_still_moves_known_ones() -> None:
    for buffer_bytes in (0, SLOTS_MIN * ENTRY_BYTES, 100 * ENTRY_BYTES, 3000 * ENTRY_BYTES):
        keys = KeyMap(buffer_bytes, b"secret")
        held = 0
        while keys.put(b"%d" % held, held):
            held += 1
        slots = max(SLOTS_MIN, buffer_bytes // ENTRY_BYTES)
        assert held == keys.size == int(slots * 0.7)
        assert keys.last_offset(b"%d" % held) == -1
        assert keys.put(b"0", 10**6)
        assert keys.last_offset(b"0") == 10**6
        assert all(keys.last_offset(b"%d" % n) == n for n in range(1, held))


def test_the_secret_decides_where_keys_lie_and_not_what_is_found() -> None:
    for secret in (b"one", b"two"):
        keys = KeyMap(1 << 16, secret)
        keys.put(b"k", 3)
        assert keys.last_offset(b"k") == 3
