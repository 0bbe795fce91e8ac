"""SCRAM: the RFC's own exchange, both sides against each other, and everything a server must refuse."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest

from rivven.protocol import scram
from rivven.protocol.exceptions import ScramError
from rivven.protocol.scram import ScramMechanism, ScramVerifier

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"n,,n=user,r={CLIENT_NONCE}".encode()
FINAL = f"c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
VERIFIER = scram.derive_verifier(SHA_256, "pencil", SALT, 4096)


def answer(first: bytes, final: bytes, verifier: ScramVerifier = VERIFIER) -> bytes:
    """A server's two steps."""
    client = scram.parse_client_first(first)
    challenge = scram.server_first(client, verifier, SERVER_NONCE)
    return scram.verify_client_final(verifier, client, challenge, scram.parse_client_final(final))


def test_the_exchange_of_rfc_7677() -> None:
    client = scram.parse_client_first(FIRST)
    challenge = scram.server_first(client, VERIFIER, SERVER_NONCE)
    assert challenge.message == (f"r={CLIENT_NONCE}{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
    assert answer(FIRST, FINAL) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
@pytest.mark.parametrize("user", ["user", "a,b=c", "=2C", "müller", "User:x"])
@pytest.mark.parametrize("token_auth", [False, True])
def test_client_and_server_agree(mechanism: ScramMechanism, user: str, token_auth: bool) -> None:
    verifier = scram.derive_verifier(mechanism, "pässword", b"salt", 4096)
    first = scram.client_first(user, "client", token_auth=token_auth)
    seen = scram.parse_client_first(first.message)
    assert seen == first
    challenge = scram.parse_server_first(scram.server_first(seen, verifier, "server").message, first)
    message, expected = scram.client_final(mechanism, "pässword", first, challenge)
    final = scram.verify_client_final(verifier, seen, challenge, scram.parse_client_final(message))
    scram.verify_server_final(final, expected)
    wrong, _ = scram.client_final(mechanism, "passwort", first, challenge)
    with pytest.raises(ScramError, match="wrong proof"):
        scram.verify_client_final(verifier, seen, challenge, scram.parse_client_final(wrong))


def test_kip_554_sends_the_salted_password() -> None:
    salted = hashlib.pbkdf2_hmac("sha512", b"pencil", b"salt", 4096)
    assert scram.verifier_from_salted_password(SHA_512, salted, b"salt", 4096) == scram.derive_verifier(
        SHA_512, "pencil", b"salt", 4096
    )
    with pytest.raises(ValueError, match="64 bytes"):
        scram.verifier_from_salted_password(SHA_512, salted[:32], b"salt", 4096)


def test_the_authzid_may_repeat_the_user_and_is_bound() -> None:
    first = scram.parse_client_first(b"n,a=user,n=user,r=abc")
    assert (first.gs2_header, first.authzid) == ("n,a=user,", "user")
    challenge = scram.server_first(first, VERIFIER, "xyz")
    message, _ = scram.client_final(SHA_256, "pencil", first, challenge)
    assert message.startswith(b"c=" + b64encode(b"n,a=user,") + b",")
    scram.verify_client_final(VERIFIER, first, challenge, scram.parse_client_final(message))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=user",
        b"n,,r=abc,n=user",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=\xc3\xa9",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,,n=user=,r=abc",
        b"n,,n=user=3,r=abc",
        b"y,,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
        b"n,user,n=user,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,a=other,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=user,m=ext,r=abc",
        b"n,,n=user,n=user,r=abc",
        b"n,,n=user,r=abc,r=abc",
        b"n,,n=user,r=abc,m=1",
        b"n,,n=user,r=abc,x=1",
        b"n,,n=user,r=abc,",
        b"n,,n=user,r=abc,tokenauth",
        b"n,,n=user,r=abc,tokenauth=yes",
        b"n,,n=user,r=abc,tokenauth=true,tokenauth=true",
        b"n,,n=user\0,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,,n=user,r=abc\n",
        b"n,,n=user,r=" + b"a" * scram.MESSAGE_BYTES_MAX,
    ],
)
def test_malformed_client_first(message: bytes) -> None:
    with pytest.raises(ScramError) as caught:
        scram.parse_client_first(message)
    assert "user" not in str(caught.value).replace("user name", "").replace("another user", "")


def test_the_token_extension() -> None:
    assert scram.parse_client_first(b"n,,n=id,r=abc,tokenauth=true").token_auth
    assert not scram.parse_client_first(b"n,,n=id,r=abc,tokenauth=false").token_auth
    assert not scram.parse_client_first(b"n,,n=id,r=abc").token_auth


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=abc",
        b"r=abc,c=biws,p=AAAA",
        b"c=biws,r=abc,p=",
        b"c=biws,r=abc,p=AAA",
        b"c=biws,r=abc,p=AA\nAA",
        b"c=biws,r=abc,p=AB==",
        b"c=biws,r=abc,p=AA-_",
        b"c=biws,r=abc,x=1,p=AAAA",
        b"c=biws,c=biws,r=abc,p=AAAA",
        b"c=biws,r=,p=AAAA",
        b"c=biws,r=abc,p=AAAA,p=AAAA",
        b"c=biws,r=abc,p=\xff",
    ],
)
def test_malformed_client_final_never_passes(message: bytes) -> None:
    with pytest.raises(ScramError):
        answer(b"n,,n=user,r=abc", message)


def test_the_nonce_must_be_the_one_of_the_challenge() -> None:
    """CVE-2024-56128: a correct proof over another nonce."""
    first = scram.parse_client_first(FIRST)
    other = scram.server_first(first, VERIFIER, "another")
    message, _ = scram.client_final(SHA_256, "pencil", first, other)
    with pytest.raises(ScramError, match="nonce"):
        answer(FIRST, message)
    for nonce in (CLIENT_NONCE, CLIENT_NONCE + SERVER_NONCE + "x", SERVER_NONCE):
        with pytest.raises(ScramError, match="nonce"):
            answer(FIRST, f"c=biws,r={nonce},p={'A' * 43}=".encode())


@pytest.mark.parametrize(
    ("prefix", "accepted"), [(CLIENT_NONCE, True), ("x", False), (CLIENT_NONCE * 2, False)]
)
def test_the_client_nonce_may_stand_in_front_once_more(prefix: str, accepted: bool) -> None:
    """librdkafka before 2.6.1 (librdkafka#4895); the whole nonce of the challenge is still checked."""
    first = scram.parse_client_first(FIRST)
    challenge = scram.server_first(first, VERIFIER, SERVER_NONCE)
    message, _ = scram.client_final(
        SHA_256, "pencil", first, replace(challenge, nonce=prefix + challenge.nonce)
    )
    if accepted:
        assert answer(FIRST, message).startswith(b"v=")
    else:
        with pytest.raises(ScramError, match="nonce"):
            answer(FIRST, message)


@pytest.mark.parametrize("binding", ["", "biw=", "bixz", "eSws", "cD10bHMtdW5pcXVlLCw="])
def test_the_channel_binding_must_be_the_header_that_was_sent(binding: str) -> None:
    """A proof that is right for the message it came with, but the message lies about the GS2 header."""
    first = scram.parse_client_first(FIRST)
    challenge = scram.server_first(first, VERIFIER, SERVER_NONCE)
    message, _ = scram.client_final(SHA_256, "pencil", first, challenge)
    with pytest.raises(ScramError, match="channel binding"):
        answer(FIRST, message.replace(b"c=biws", b"c=" + binding.encode()))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_proof_of_another_length_is_wrong(size: int) -> None:
    final = f"c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={b64encode(bytes(size)).decode()}".encode()
    with pytest.raises(ScramError, match="wrong proof"):
        answer(FIRST, final)


def test_every_flipped_bit_of_the_proof_is_wrong() -> None:
    head, _, proof = FINAL.partition(b",p=")
    raw = b64decode(proof)
    for bit in range(256):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ScramError, match="wrong proof"):
            answer(FIRST, head + b",p=" + b64encode(flipped))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"e=unknown-user",
        b"r=client,s=c2FsdA==,i=4096",
        b"r=other,s=c2FsdA==,i=4096",
        b"r=clientX,s=,i=4096",
        b"r=clientX,s=c2FsdA,i=4096",
        b"r=clientX,s=c2FsdA==,i=4095",
        b"r=clientX,s=c2FsdA==,i=1000001",
        b"r=clientX,s=c2FsdA==,i=-1",
        b"r=clientX,s=c2FsdA==,i=04096",
        b"r=clientX,s=c2FsdA==,i=99999999999999999999",
        b"r=clientX,i=4096,s=c2FsdA==",
        b"r=clientX,s=c2FsdA==,i=4096,x=1",
        b"m=x,r=clientX,s=c2FsdA==,i=4096",
    ],
)
def test_a_client_refuses_a_bad_challenge(message: bytes) -> None:
    with pytest.raises(ScramError):
        scram.parse_server_first(message, scram.client_first("user", "client"))


def test_a_client_refuses_a_server_that_does_not_know_the_password() -> None:
    for message in (b"", b"e=other-error", b"v=AAAA"):
        with pytest.raises(ScramError):
            scram.verify_server_final(message, b"v=BBBB")


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
def test_the_text_form_of_a_verifier(mechanism: ScramMechanism) -> None:
    verifier = scram.derive_verifier(mechanism, "pencil", b"salt", 8192)
    text = scram.format_verifier(verifier)
    assert text.startswith(f"${mechanism.value.lower()}$8192$c2FsdA==$")
    assert scram.parse_verifier(text) == verifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$scram-sha-256$4096$c2FsdA==$AAAA",
        "$scram-sha-1$4096$c2FsdA==$AAAA$AAAA",
        "$scram-sha-256$4095$c2FsdA==$" + "A" * 43 + "=$" + "A" * 43 + "=",
        "$scram-sha-256$-4096$c2FsdA==$" + "A" * 43 + "=$" + "A" * 43 + "=",
        "$scram-sha-256$4096$$" + "A" * 43 + "=$" + "A" * 43 + "=",
        "$scram-sha-256$4096$c2FsdA$" + "A" * 43 + "=$" + "A" * 43 + "=",
        "$scram-sha-512$4096$c2FsdA==$" + "A" * 43 + "=$" + "A" * 43 + "=",
        "x$scram-sha-256$4096$c2FsdA==$" + "A" * 43 + "=$" + "A" * 43 + "=",
    ],
)
def test_malformed_verifiers(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)scram"):
        scram.parse_verifier(text)


def test_iterations_out_of_bounds() -> None:
    for iterations in (0, 4095, 1_000_001):
        with pytest.raises(ValueError, match="iterations"):
            scram.derive_verifier(SHA_256, "p", b"salt", iterations)


def test_reprs_hide_keys_and_proofs() -> None:
    first = scram.parse_client_first(FIRST)
    shown = [
        VERIFIER,
        first,
        scram.server_first(first, VERIFIER, SERVER_NONCE),
        scram.parse_client_final(FINAL),
    ]
    for value in shown:
        text = repr(value)
        for secret in (SERVER_NONCE, "dHzb", "stored_key", "W22Z", "x5b"):
            assert secret not in text


def test_bad_nonces_of_our_own_are_refused() -> None:
    with pytest.raises(ValueError, match="nonce"):
        scram.server_first(scram.parse_client_first(FIRST), VERIFIER, "a,b")
    with pytest.raises(ValueError, match="nonce"):
        scram.client_first("user", "")
    with pytest.raises(ValueError, match="user name"):
        scram.client_first("", "abc")


def test_mechanism_numbers() -> None:
    assert [ScramMechanism.from_code(code) for code in (0, 1, 2, 3)] == [None, SHA_256, SHA_512, None]
    assert (SHA_256.code, SHA_512.code) == (1, 2)
