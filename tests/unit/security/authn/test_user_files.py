"""The users file: what it may say, and that every refusal names file, line and key and no hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.protocol.scram import ScramMechanism, derive_verifier, format_verifier
from rivven.security.authn.password_verifiers import Argon2Password
from rivven.security.authn.user_files import UsersFileError, parse_users
from rivven.security.authn.users import FileUser
from rivven.testing.canary import leaks

VERIFIER = derive_verifier(ScramMechanism.SCRAM_SHA_256, "canary-Pa55word", b"canary-of-salt-x", 4096)
VERIFIER_512 = derive_verifier(ScramMechanism.SCRAM_SHA_512, "canary-Pa55word", b"canary-of-salt-x", 4096)
HASH, HASH_512 = format_verifier(VERIFIER), format_verifier(VERIFIER_512)
ARGON2 = "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA"


def test_the_form_of_the_document() -> None:
    text = f"users:\n  admin:\n    password_hash: '{HASH}'\n    roles: [admin]\n"
    assert parse_users(text.encode(), "u") == {
        "admin": FileUser("admin", roles=("admin",), verifiers=(VERIFIER,))
    }


def test_everything_a_user_may_have() -> None:
    text = f"""
users:
  ann:
    password_hash: ["{HASH}", "{HASH_512}", "{ARGON2}"]
    roles: [b, a, a]
    groups: [staff]
    enabled: false
  tokens-only: {{}}
"""
    ann = FileUser("ann", False, ("staff",), ("a", "b"), (VERIFIER, VERIFIER_512), (Argon2Password(ARGON2),))
    assert parse_users(text.encode(), "u") == {"ann": ann, "tokens-only": FileUser("tokens-only")}


@pytest.mark.parametrize("text", [b"users:\n", b"users: {}\n"])
def test_a_file_may_hold_nobody(text: bytes) -> None:
    assert parse_users(text, "u") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "u: line 1: users: must be a mapping"),
        ("users: []\n", "u: line 1: users: must be a mapping"),
        ("user: {}\nusers: {}\n", "u: line 1: user: no such key; did you mean users?"),
        ("users:\n  ann: x\n", "u: line 2: users.ann: must be a mapping"),
        ("users:\n  ann:\n    password: x\n", "u: line 3: users.ann.password: no such key; did you mean"),
        ("users:\n  ann: {enabled: 1}\n", "u: line 2: users.ann.enabled: must be true or false"),
        ("users:\n  ann: {enabled: 'yes'}\n", "u: line 2: users.ann.enabled: must be true or false"),
        ("users:\n  ann:\n    roles: admin\n", "u: line 3: users.ann.roles: must be a list of names"),
        ("users:\n  ann:\n    groups: [' x']\n", "u: line 3: users.ann.groups: a name is printable"),
        ("users:\n  ann:\n    groups: ['*']\n", "u: line 3: users.ann.groups: a name is printable"),
        ("users:\n  '*': {}\n", "u: line 2: users.*: a user cannot be called *"),
        ("users:\n  ' x': {}\n", "u: line 2: users. x: a user name has no control characters"),
        ("users:\n  ann: {}\n  ann: {}\n", "u: line 3 column 3: the key 'ann' is given twice"),
        ("users: [\n", "u: line 2 column 1: "),
        (
            f"users:\n  ann:\n    password_hash: ['{HASH}', '{HASH}']\n",
            "u: line 3: users.ann.password_hash: one hash of each kind",
        ),
        ("users:\n  ann: {password_hash: 7}\n", "u: line 2: users.ann.password_hash: must be a hash"),
        ("users:\n  ann: {password_hash: secret}\n", "password_hash: a SCRAM verifier has five fields"),
        ("users:\n  ann: {password_hash: $argon2i$v=19$x}\n", "password_hash: not an Argon2id hash"),
        (f"users:\n  ann: {{password_hash: '{HASH[:-6]}'}}\n", "password_hash: salt and keys of a SCRAM"),
        (
            f"users:\n  ann: {{password_hash: '{HASH.replace('$4096$', '$400$')}'}}\n",
            "iterations must be 4096",
        ),
        ("users:\n  ann: {password_hash: [a, b, c, d, e]}\n", "at most 4 hashes"),
    ],
)
def test_refusals_name_file_line_and_key(text: str, problem: str) -> None:
    with pytest.raises(UsersFileError) as refused:
        parse_users(text.encode(), "u")
    assert problem in str(refused.value)
    assert not leaks([HASH, "canary-of-salt-x", VERIFIER.stored_key], {"error": str(refused.value)})


def test_every_problem_is_told_at_once_up_to_a_number_a_person_reads() -> None:
    text = "users:\n" + "".join(f"  u{i}: {{enabled: 3}}\n" for i in range(50))
    with pytest.raises(UsersFileError) as refused:
        parse_users(text.encode(), "u")
    assert len(str(refused.value).splitlines()) == 20


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"users: {text}".encode()))
def test_random_text_is_users_or_an_error(text: bytes) -> None:
    try:
        assert isinstance(parse_users(text, "u"), dict)
    except UsersFileError as error:
        assert str(error).startswith("u: ")


def test_no_repr_holds_a_hash() -> None:
    text = f"users: {{ann: {{password_hash: ['{HASH}', '{ARGON2}']}}}}\n"
    users = parse_users(text.encode(), "u")
    assert not leaks([HASH[20:], ARGON2[20:], VERIFIER.stored_key, VERIFIER.salt], {"repr": repr(users)})
