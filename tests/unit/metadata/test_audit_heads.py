"""The head of the audit trail in the metadata: the newest one, kept over restarts, told once."""

import pytest

from rivven.errors import InvalidRequest
from rivven.metadata.audit_heads import AuditHeadKept, AuditHeads, KeepAuditHead
from rivven.metadata.image import MetadataImage

HASH = "ab" * 32


def test_the_newest_head_replaces_the_one_before() -> None:
    family, image = AuditHeads(), MetadataImage()
    for version, sequence in enumerate((4, 9), 1):
        (event,), _ = family.decide(KeepAuditHead(sequence, HASH), image, 0)
        family.apply(event, version)
    assert family.head == AuditHeadKept(9, HASH) and family.version == 2
    assert list(family.events()) == [AuditHeadKept(9, HASH)]
    assert family.decide(KeepAuditHead(9, HASH), image, 0) == ((), None), "nothing new is not written"


def test_it_is_the_same_after_the_journal() -> None:
    (codec,) = AuditHeads.codecs
    event = AuditHeadKept(7, HASH)
    assert codec.build(codec.members(event)) == event and codec.key(event) == "7"


@pytest.mark.parametrize(
    "command", [KeepAuditHead(-1, HASH), KeepAuditHead(1, "x"), KeepAuditHead(1, HASH + "a")]
)
def test_what_is_no_head_is_refused(command: KeepAuditHead) -> None:
    with pytest.raises(InvalidRequest):
        AuditHeads().decide(command, MetadataImage(), 0)
