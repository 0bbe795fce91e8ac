"""The signing key as it is kept, and the public keys beside the log: every one, oldest first."""

from __future__ import annotations

import errno
import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rivven.audit.signing import PUBLIC_NAME, new_secret, public_keys, publish, signer_of
from rivven.audit.sinks import SinkFailed
from rivven.testing.files import CrashFiles, Fault, PowerCut

PATH = f"/audit/{PUBLIC_NAME}"


def test_a_kept_key_gives_the_same_signer_and_shows_nothing() -> None:
    secret = new_secret()
    signer, again = signer_of(secret), signer_of(secret)
    assert (signer.key_id, signer.sign(b"x")) == (again.key_id, again.sign(b"x"))
    assert b"PUBLIC" in signer.public_pem
    assert "PRIVATE" not in repr(signer)
    assert json.loads(json.dumps(signer.key_id)) == signer.key_id


def test_what_is_no_signing_key_is_refused_without_showing_it() -> None:
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for secret, reason in ((b"canary", "not a private key"), (other, "not an Ed25519 key")):
        with pytest.raises(SinkFailed, match=reason) as caught:
            signer_of(secret)
        assert "canary" not in str(caught.value)


def test_public_keys_gather_beside_the_log_oldest_first_and_once() -> None:
    files = CrashFiles()
    first, second = signer_of(new_secret()), signer_of(new_secret())
    for signer in (first, first, second, second):
        publish(files, "/audit", signer)
    assert public_keys(files.content(PATH)) == [first.public_pem, second.public_pem]


def test_a_file_that_is_something_else_is_left_alone() -> None:
    files = CrashFiles()
    files.make_directory("/audit")
    files.put(PATH, b"somebody's notes")
    with pytest.raises(SinkFailed, match="not public keys"):
        publish(files, "/audit", signer_of(new_secret()))
    assert files.content(PATH) == b"somebody's notes"


def test_a_crash_or_a_full_disk_leaves_the_old_keys_or_all() -> None:
    first, second = signer_of(new_secret()), signer_of(new_secret())
    for seed in range(12):
        files = CrashFiles()
        publish(files, "/audit", first)
        files.sync_directory("/")
        if seed == 0:
            files.faults.append(Fault("write", errno.ENOSPC))
            with pytest.raises(OSError, match="No space"):
                publish(files, "/audit", second)
        else:
            files.cut_power_at = files.operations + 1 + seed % 5
            with pytest.raises(PowerCut):
                publish(files, "/audit", second)
            files.crash(random.Random(seed))
        assert public_keys(files.content(PATH))[0] == first.public_pem, seed
        publish(files, "/audit", second)
        assert public_keys(files.content(PATH)) == [first.public_pem, second.public_pem], seed
