"""Lines of keys: what an error message about a value points at."""

from __future__ import annotations

from rivven.config.yaml_lines import key_lines

TEXT = b"""\
# a comment
users:
  alice:
    roles: [one, two]
    groups:
      - three

  "b:c": {enabled: false}
"""


def test_keys_and_entries_have_the_line_they_start_on() -> None:
    assert key_lines(TEXT) == {
        ("users",): 2,
        ("users", "alice"): 3,
        ("users", "alice", "roles"): 4,
        ("users", "alice", "roles", 0): 4,
        ("users", "alice", "roles", 1): 4,
        ("users", "alice", "groups"): 5,
        ("users", "alice", "groups", 0): 6,
        ("users", "b:c"): 8,
        ("users", "b:c", "enabled"): 8,
    }


def test_an_empty_text_has_none() -> None:
    assert key_lines(b"") == {}
