"""Whatever is done to one line of a chain, verification finds it, at that line or the one after."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.audit.chain import Chain, Head, split_signature, with_signature
from rivven.audit.events import AuditEvent
from rivven.audit.tail import numbered
from rivven.audit.verify import Report, Verifier
from rivven.testing.files import CrashFiles

unhurried = settings(deadline=None)  # machines are shared; the work is counted by its examples

TEXTS = st.text(max_size=30)
EVENTS = st.lists(
    st.builds(
        AuditEvent,
        event_type=st.sampled_from(["authentication", "acl_change", "audit"]),
        action=TEXTS,
        resource=TEXTS,
        principal=TEXTS,
        reason=TEXTS,
        details=st.dictionaries(
            TEXTS, st.one_of(TEXTS, st.integers(), st.lists(TEXTS, max_size=3)), max_size=3
        ),
    ),
    min_size=3,
    max_size=12,
)


def chained(events: list[AuditEvent]) -> list[bytes]:
    chain = Chain(Head())
    return [chain.append(event, 1_000).data for event in events]


def verify(lines: list[bytes]) -> Report:
    files = CrashFiles()
    files.open("/log", "create").write([b"".join(line + b"\n" for line in lines)], 0)
    return Verifier(files).verify(["/log"])


@unhurried
@given(EVENTS)
def test_a_chain_as_it_was_written_is_intact(events: list[AuditEvent]) -> None:
    lines = chained(events)
    assert all(b"\n" not in line and line.isascii() for line in lines)
    report = verify(lines)
    assert report.findings == [] and report.lines == len(events)


@unhurried
@given(EVENTS, st.data())
def test_one_changed_byte_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines = chained(events)
    number = data.draw(st.integers(0, len(lines) - 2))
    line = bytearray(lines[number])
    line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    lines[number] = bytes(line)
    assert verify(lines).findings[0].line in (number + 1, number + 2)


@unhurried
@given(EVENTS, st.data())
def test_one_deleted_line_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines = chained(events)
    number = data.draw(st.integers(0, len(lines) - 2))
    del lines[number]
    found = verify(lines).findings[0]
    assert found.line in (0, number + 1)


@unhurried
@given(EVENTS, st.data())
def test_a_line_in_another_place_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines = chained(events)
    source = data.draw(st.integers(0, len(lines) - 1))
    target = data.draw(st.integers(0, len(lines) - 1).filter(lambda place: place != source))
    lines.insert(target, lines.pop(source))
    assert verify(lines).findings


@unhurried
@given(EVENTS, st.data())
def test_a_repeated_line_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    lines = chained(events)
    lines.insert(data.draw(st.integers(0, len(lines))), data.draw(st.sampled_from(lines)))
    assert verify(lines).findings


@unhurried
@given(st.binary(min_size=2, max_size=200), st.binary(min_size=64, max_size=64))
def test_a_signature_comes_out_as_it_went_in(content: bytes, signature: bytes) -> None:
    body = b'{"x":"' + content.hex().encode() + b'"}'
    signed: list[bytes] = []

    def sign(data: bytes) -> bytes:
        signed.append(data)
        return signature

    assert split_signature(with_signature(body, sign)) == (signed[0], signature)


@unhurried
@given(st.binary(max_size=300))
def test_bytes_that_are_no_line_are_no_line(content: bytes) -> None:
    found = numbered(content)
    assert found is None or isinstance(found.sequence, int)
    split_signature(content)
