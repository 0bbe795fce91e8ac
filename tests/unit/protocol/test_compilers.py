"""The generated source itself: what is merged into one read, what is checked before it is allocated."""

from __future__ import annotations

import pytest

from rivven.protocol import messages as m
from rivven.protocol.layout import Layout
from rivven.protocol.parse_compiler import compile_parse
from rivven.protocol.source import Source
from rivven.protocol.write_compiler import compile_gather, compile_write


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every function compiled during the test."""
    texts: list[str] = []
    plain = Source.compile

    def recording(source: Source, name: str) -> object:
        texts.append(source.text())
        return plain(source, name)

    monkeypatch.setattr(Source, "compile", recording)
    return texts


def test_neighbouring_fields_are_read_and_written_at_once(generated: list[str]) -> None:
    layout = Layout(m.FetchRequest, 12, flexible=True)
    compile_parse(layout)
    compile_write(layout)
    parse, write = generated
    # partition, leader epoch, offset, last fetched epoch, log start, max bytes, and the tag count.
    assert "unpack_from_iiqiqiB(buf, pos)" in parse
    assert "pack_iiqiqix(" in write


def test_every_array_is_checked_before_its_loop(generated: list[str]) -> None:
    for message in m.REQUESTS.values():
        compile_parse(Layout(message, 0, flexible=False))
    for text in generated:
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if "for _ in range(n" in line:
                count = line.partition("range(")[2].partition(")")[0]
                before = lines[:number]
                assert any(f"if {count} > " in earlier and "raise truncated" in earlier for earlier in before)
                assert any(f"left -= {count}" in earlier for earlier in before)


def test_smallest_elements() -> None:
    classic, compact = Layout(m.FetchRequest, 4, flexible=False), Layout(m.FetchRequest, 12, flexible=True)
    assert classic.minimum_size(m.FetchRequest.FetchPartition) == 4 + 8 + 4
    assert compact.minimum_size(m.FetchRequest.FetchPartition) == 4 + 4 + 8 + 4 + 8 + 4 + 1
    assert classic.minimum_size(m.FetchRequest.FetchTopic) == 2 + 4
    assert compact.minimum_size(m.FetchRequest.FetchTopic) == 1 + 1 + 1


def test_only_messages_with_records_are_gathered() -> None:
    carrying = {
        cls.__name__
        for cls in [*m.REQUESTS.values(), *m.RESPONSES.values()]
        if Layout(cls, 9, flexible=False).carries_records
    }
    assert carrying == {"ProduceRequest", "FetchResponse"}


def test_a_gathered_answer_continues_after_its_records() -> None:
    f = m.FetchResponse
    topic = f.FetchableTopicResponse(
        topic="t", partitions=[f.PartitionData(records=b"one"), f.PartitionData(records=[b"two", b"three"])]
    )
    parts: list[object] = []
    last = compile_gather(Layout(f, 12, flexible=True))(f(responses=[topic]), bytearray(b"head"), parts)
    assert [part for part in parts if isinstance(part, bytes)] == [b"one", b"two", b"three"]
    assert [type(part) for part in parts] == [bytearray, bytes, bytearray, bytes, bytes]
    assert parts[0][:4] == b"head"  # type: ignore[index]
    assert last == bytes(3), "tag counts of partition, topic and answer"
