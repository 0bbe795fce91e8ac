"""The users file: YAML in, `FileUser`s out, or every problem with its line and key.

    users:
      alice:
        password_hash: $scram-sha-256$...   # or a list; also $scram-sha-512$ and $argon2id$
        roles: [producer]
        groups: [payments]
        enabled: true

Strict: an unknown key or a hash that cannot be checked refuses the whole file, so that a typing error never
removes or opens anything. No error repeats a hash. It must not touch the disk.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from rivven.config.strict_yaml import YamlProblem, parse_mapping
from rivven.config.yaml_lines import KeyPath, key_lines
from rivven.protocol.scram import ScramVerifier, parse_verifier
from rivven.security.authn.password_verifiers import Argon2Password
from rivven.security.authn.users import FileUser, check_user_name

HASHES_PER_USER_MAX = 4
"""Both SCRAM mechanisms and Argon2id, and no more: the first Argon2id one is the one that counts."""

NAMES_PER_USER_MAX = 100
"""Roles or groups of one user: each is looked up at every decision about it."""

PROBLEMS_MAX = 20
"""A person reads them one after the other."""

_KEYS = ("password_hash", "roles", "groups", "enabled")


class UsersFileError(Exception):
    """A users file that is refused; the text holds one problem per line, each with file, line and key."""


def parse_users(text: bytes, source: str) -> dict[str, FileUser]:
    """The users a text describes; `source` names it in errors. Raises UsersFileError."""
    try:
        document = parse_mapping(text)
    except YamlProblem as problem:
        where = f"{source}: {problem.where}" if problem.where else source
        raise UsersFileError(f"{where}: {problem.reason}") from None
    reading = _Reading(source, key_lines(text))
    users = reading.users(document)
    if reading.problems:
        raise UsersFileError("\n".join(reading.problems[:PROBLEMS_MAX]))
    return users


class _Reading:
    """One pass over a document; gathers problems instead of stopping at the first."""

    def __init__(self, source: str, lines: Mapping[KeyPath, int]) -> None:
        self._source = source
        self._lines = lines
        self.problems: list[str] = []

    def users(self, document: dict[str, Any]) -> dict[str, FileUser]:
        self._known_keys(document, (), ("users",))
        entries = document.get("users")
        if entries is None and "users" in document:
            return {}
        if not isinstance(entries, dict):
            self._refuse(("users",), "must be a mapping of names to users")
            return {}
        return {str(name): self._user(str(name), entry) for name, entry in entries.items()}

    def _user(self, name: str, entry: Any) -> FileUser:
        path: KeyPath = ("users", name)
        self._checked(path, check_user_name, name)
        if not isinstance(entry, dict):
            self._refuse(path, f"must be a mapping with the keys {', '.join(_KEYS)}")
            return FileUser(name)
        self._known_keys(entry, path, _KEYS)
        enabled = entry.get("enabled", True)
        if not isinstance(enabled, bool):
            self._refuse((*path, "enabled"), "must be true or false")
        verifiers, passwords = self._hashes(entry.get("password_hash", []), (*path, "password_hash"))
        return FileUser(
            name,
            enabled is True,
            self._names(entry.get("groups", []), (*path, "groups")),
            self._names(entry.get("roles", []), (*path, "roles")),
            verifiers,
            passwords,
        )

    def _hashes(
        self, value: Any, path: KeyPath
    ) -> tuple[tuple[ScramVerifier, ...], tuple[Argon2Password, ...]]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self._refuse(path, "must be a hash or a list of hashes; see `rivven auth hash-password`")
            return (), ()
        if len(texts) > HASHES_PER_USER_MAX:
            self._refuse(path, f"at most {HASHES_PER_USER_MAX} hashes")
            return (), ()
        verifiers: list[ScramVerifier] = []
        passwords: list[Argon2Password] = []
        for text in texts:
            if text.startswith("$argon2"):
                argon = self._checked(path, Argon2Password, text)
                passwords += [argon] if argon is not None else []
            else:
                scram = self._checked(path, parse_verifier, text)
                verifiers += [scram] if scram is not None else []
        kinds = [one.mechanism for one in verifiers]
        if len(passwords) > 1 or len(set(kinds)) < len(kinds):
            self._refuse(path, "one hash of each kind")
        return tuple(verifiers), tuple(passwords)

    def _names(self, value: Any, path: KeyPath) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._refuse(path, "must be a list of names")
            return ()
        if len(value) > NAMES_PER_USER_MAX:
            self._refuse(path, f"at most {NAMES_PER_USER_MAX} names")
        for one in value:
            if not one or one != one.strip() or not one.isprintable() or one == "*":
                self._refuse(path, "a name is printable, has no space at its ends and is not *")
        return tuple(sorted(set(value)))

    def _known_keys(self, mapping: dict[str, Any], path: KeyPath, known: tuple[str, ...]) -> None:
        for key in mapping:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"
                self._refuse((*path, str(key)), f"no such key{hint}")

    def _checked(self, path: KeyPath, make: Callable[[str], Any], text: str) -> Any:
        try:
            return make(text)
        except ValueError as error:
            self._refuse(path, str(error))
            return None

    def _refuse(self, path: KeyPath, reason: str) -> None:
        line = next(
            (self._lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self._lines), 1
        )
        key = ".".join(map(str, path))
        self.problems.append(f"{self._source}: line {line}: {key}: {reason}")
