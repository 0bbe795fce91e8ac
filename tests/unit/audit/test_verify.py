"""Verification offline: what is found, where it is said to be, and what needs a head from elsewhere."""

import json
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rivven.audit.chain import Chain, Head, line_hash
from rivven.audit.events import AuditEvent
from rivven.audit.signing import Signer, new_secret, signer_of
from rivven.audit.verify import NOTHING_SIGNED, UNSIGNED_MAX, Report, Verifier
from rivven.testing.files import CrashFiles

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()


def pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def lines(
    count: int,
    *,
    every: int = 5,
    head: Head | None = None,
    apart_ms: int = 1,
    signed_first: bool = False,
) -> list[bytes]:
    """A chain with a checkpoint after each `every` events, which are `apart_ms` apart."""
    chain = Chain(head or Head())
    made = [chain.checkpoint(0, KEY.sign, "k").data] if signed_first else []
    for number in range(count):
        at_ms = 1000 + number * apart_ms
        made.append(chain.append(AuditEvent("acl_change", "create", f"topic:{number}"), at_ms).data)
        if number % every == every - 1:
            made.append(chain.checkpoint(at_ms, KEY.sign, "k").data)
    return made


def verify(
    *contents: list[bytes], key: bytes | None = None, heads: tuple[str, ...] = (), end: bytes = b"\n"
) -> Report:
    files = CrashFiles()
    paths = []
    for number, content in enumerate(contents):
        path = f"/log{number}"
        files.open(path, "create").write([b"\n".join(content) + end], 0)
        paths.append(path)
    return Verifier(files, key if key is not None else pem(), heads).verify(paths)


def test_a_whole_chain_is_intact_over_files_in_any_order() -> None:
    made = lines(20)
    report = verify(made[13:], made[:7], made[7:13], heads=(line_hash(made[3]),))
    assert report.intact, report.findings
    assert (report.files, report.lines, report.checkpoints) == (3, 24, 4)
    assert report.head == Head(24, line_hash(made[-1])) and report.signed_below == 24


@pytest.mark.parametrize("number", range(23))
def test_an_edited_line_is_found_with_its_place(number: int) -> None:
    made = lines(20)
    made[number] = made[number].replace(b'"client_ip":null', b'"client_ip":"10.0.0.9"')
    report = verify(made)
    assert report.findings[0].file == "/log0"
    assert report.findings[0].line in (number + 1, number + 2), (
        "the line itself (signed), or the one after it"
    )


def test_deleted_moved_added_and_repeated_lines_are_found() -> None:
    made = lines(20)
    deleted = verify(made[:8] + made[10:])
    assert (deleted.findings[0].line, deleted.findings[0].reason) == (
        9,
        "2 lines before this one are missing (8 to 9)",
    )
    moved = verify([*made[:4], made[5], made[4], *made[6:]])
    assert moved.findings[0].line == 5
    added = verify([*made[:4], made[3], *made[4:]])
    assert "moved, repeated or put in" in added.findings[0].reason
    assert not verify(made[:4], made[8:]).intact


def test_what_is_cut_off_the_end_needs_a_head_from_elsewhere() -> None:
    made = lines(20)
    assert verify(made[:12]).intact
    report = verify(made[:12], heads=(line_hash(made[-1]),))
    assert "the end was cut off" in report.findings[0].reason


def test_a_chain_written_anew_needs_a_head_or_the_key() -> None:
    made = lines(20)
    forged = lines(20, every=100)
    assert verify(forged, heads=(line_hash(made[-1]),)).findings
    resigned = Chain(Head())
    other = Ed25519PrivateKey.generate()
    forged = [resigned.append(AuditEvent("x", "y"), 1).data, resigned.checkpoint(2, other.sign, "k").data]
    assert verify(forged).findings[0].reason == "the signature is not of this key"


def test_many_lines_without_a_signature_are_a_finding() -> None:
    assert verify(lines(UNSIGNED_MAX, every=10**9, signed_first=True)).intact
    for signed_first in (False, True):
        (finding,) = verify(lines(UNSIGNED_MAX + 2, every=10**9, signed_first=signed_first)).findings
        assert "without a signature" in finding.reason


def test_a_short_chain_written_anew_without_any_signature_is_a_finding() -> None:
    forged = lines(3)
    (finding,) = verify(forged).findings
    assert (finding.file, finding.line, finding.reason) == ("", 0, NOTHING_SIGNED)
    assert verify(lines(3, every=1)).intact
    assert Verifier(CrashFiles(), pem()).verify([]).intact, "where nothing is, nothing can be signed"


def test_minutes_without_a_signature_are_a_finding() -> None:
    assert verify(lines(40, every=5, apart_ms=30_000)).intact
    forged = verify(lines(40, every=100, apart_ms=30_000))
    assert [(one.line, one.reason) for one in forged.findings] == [(12, "no signature for more than 300 s")]


def test_a_crash_and_a_start_after_hours_are_no_finding() -> None:
    chain = Chain(Head())
    made = [chain.checkpoint(1000, KEY.sign, "k").data]
    made.append(chain.append(AuditEvent("acl_change", "create"), 1000).data)
    made.append(chain.append(AuditEvent("audit", "recovered"), 10**8).data)
    made.append(chain.append(AuditEvent("lifecycle", "start"), 10**8).data)
    made.append(chain.append(AuditEvent("acl_change", "create"), 10**8 + 50_000).data)
    assert verify(made).intact


def test_a_record_of_a_removal_that_is_not_signed_removes_nothing() -> None:
    """Whoever stops the broker can add lines after the last signature: they must not excuse missing files."""
    made = lines(20)
    last = json.loads(made[12])
    details = {"removed_below": 12, "last_hash": last["previous"]}
    chain = Chain(Head(24, line_hash(made[-1])))
    forged = chain.append(AuditEvent("audit", "retention", "file:audit.log", details=details), 2000).data
    reasons = [one.reason for one in verify([*made[12:], forged]).findings]
    assert reasons == [
        "the record of a removal is not signed",
        "the lines below 12 are missing, and no record says that they were removed",
    ]


def test_an_unfinished_line_and_strange_lines_are_named() -> None:
    made = lines(4)
    assert verify(made, end=b"").findings[0].line == 4
    report = verify([*made[:2], b"not json", *made[2:]])
    assert (report.findings[0].line, report.findings[0].reason) == (3, "this is not an audit line")


def test_a_chain_that_begins_later_must_say_why() -> None:
    made = lines(10, head=Head(5, "ab" * 32))
    assert "no record says" in verify(made).findings[0].reason
    chain = Chain(Head(5, "ab" * 32))
    removal = AuditEvent(
        "audit", "retention", details={"removed_below": 5, "last_hash": "ab" * 32}, signed=True
    )
    assert verify([chain.append(removal, 1, KEY.sign).data]).intact
    chain = Chain(Head(5, "ab" * 32))
    wrong = AuditEvent(
        "audit", "retention", details={"removed_below": 5, "last_hash": "cd" * 32}, signed=True
    )
    assert "not those that" in verify([chain.append(wrong, 1, KEY.sign).data]).findings[0].reason


def test_the_first_line_may_not_name_another() -> None:
    assert verify(lines(2, head=Head(0, "ab" * 32))).findings[0].line == 1


def test_random_damage_is_always_found() -> None:
    """Any byte of any line but the last: the last line is only protected by a signature or a head."""
    dice = Random(7)
    made = lines(30)
    whole = b"\n".join(made) + b"\n"
    for _ in range(400):
        place = dice.randrange(len(whole) - len(made[-1]) - 1)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        files = CrashFiles()
        files.open("/log", "create").write([bytes(damaged)], 0)
        assert not Verifier(files, pem()).verify(["/log"]).intact, place


def rotated(signers: list[Signer]) -> list[bytes]:
    """Lines of a chain with a checkpoint by each signer in turn."""
    chain = Chain(Head())
    made = []
    for number, signer in enumerate(signers):
        made.append(chain.append(AuditEvent("acl_change", "create", f"topic:{number}"), 1000).data)
        made.append(chain.checkpoint(1000, signer.sign, signer.key_id).data)
    return made


def test_a_chain_signed_across_rotations_is_verified_with_all_its_keys() -> None:
    old, new = signer_of(new_secret()), signer_of(new_secret())
    both = old.public_pem + new.public_pem
    made = rotated([old, old, new, new])
    report = verify(made, key=both)
    assert report.intact and report.signed_below == 8
    assert [f.reason for f in verify(made, key=new.public_pem).findings] == [
        "the signature is not of this key"
    ] * 2
    stranger = signer_of(new_secret())
    assert verify(rotated([old, stranger]), key=both).findings[0].reason.endswith("not of any of these keys")


def test_a_key_that_was_replaced_signs_nothing_any_more() -> None:
    old, new = signer_of(new_secret()), signer_of(new_secret())
    report = verify(rotated([old, new, old]), key=old.public_pem + new.public_pem)
    assert [f.reason for f in report.findings] == ["the signature is of a key that had been replaced"]


@pytest.mark.parametrize("content", [b"", b"garbage", pem() + b"garbage", b"x" + pem()])
def test_what_is_no_public_key_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not public keys"):
        verify(lines(1), key=content)


FORGED = [
    ("retention", '{"removed_below":"many","last_hash":7}'),
    ("retention", '{"removed_below":null}'),
    ("retention", "[]"),
    ("gap", '{"count":"many"}'),
    ("gap", '{"count":[1]}'),
    ("gap", "1"),
    ("checkpoint", '"none"'),
]


@pytest.mark.parametrize(("action", "details"), FORGED)
@pytest.mark.parametrize("first", [0, 3])
def test_what_somebody_else_wrote_is_a_finding_whatever_it_says(
    action: str, details: str, first: int
) -> None:
    """With the keys and without: who has no key can write lines that chain."""
    line = (
        f'{{"timestamp":"2026-01-01T00:00:00.000Z","sequence":{first},"event_type":"audit",'
        f'"action":"{action}","previous":"{"0" * 64}","details":{details}}}'
    ).encode()
    files = CrashFiles()
    files.open("/log", "create").write([line + b"\n"], 0)
    for key in (pem(), None):
        report = Verifier(files, key).verify(["/log"])
        assert report.lines == 1
        assert report.dropped_events == 0
        assert report.intact is (key is None and first == 0 and action != "checkpoint")


def test_nesting_without_end_is_no_audit_line() -> None:
    deep = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    report = verify([*lines(5), deep])
    assert "this is not an audit line" in [finding.reason for finding in report.findings]
