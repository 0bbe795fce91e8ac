from __future__ import annotations

import pytest

from rivven.log.epochs import LeaderEpochs, decode_epochs
from rivven.log.framed_file import encode

EPOCHS = ((0, 0), (2, 10), (5, 30))


def test_a_new_log_is_in_epoch_zero() -> None:
    epochs = LeaderEpochs()
    assert epochs.current == 0 and epochs.entries == [(0, 0)]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (5, (5, 99)),  # the current one: the log's end
        (4, (2, 30)),  # the largest not above, and where the next one begins
        (2, (2, 30)),
        (1, (0, 10)),
        (0, (0, 10)),
        (6, (-1, -1)),
        (-1, (-1, -1)),
    ],
)
def test_end_offsets(asked: int, answer: tuple[int, int]) -> None:
    assert LeaderEpochs(EPOCHS).end_offset(asked, 99) == answer


def test_an_epoch_before_the_first_known_ends_where_that_begins() -> None:
    assert LeaderEpochs([(3, 50), (4, 60)]).end_offset(1, 99) == (1, 50)


def test_the_epoch_of_an_offset() -> None:
    epochs = LeaderEpochs(EPOCHS)
    assert [epochs.epoch_for(offset) for offset in (0, 9, 10, 29, 30, 1000)] == [0, 0, 2, 2, 5, 5]


def test_an_epoch_that_wrote_nothing_gives_way() -> None:
    epochs = LeaderEpochs(EPOCHS)
    epochs.assign(6, 30)
    assert epochs.entries == [(0, 0), (2, 10), (6, 30)]


def test_epochs_never_go_back() -> None:
    epochs = LeaderEpochs(EPOCHS)
    epochs.assign(5, 40)
    assert epochs.entries == list(EPOCHS)
    with pytest.raises(ValueError, match="after"):
        epochs.assign(4, 40)


def test_cutting_the_start_keeps_the_epoch_that_covers_it() -> None:
    epochs = LeaderEpochs(EPOCHS)
    epochs.cut_start(15)
    assert epochs.entries == [(2, 15), (5, 30)]
    epochs.cut_start(30)
    assert epochs.entries == [(5, 30)]


def test_cutting_the_end_forgets_what_begins_there() -> None:
    epochs = LeaderEpochs(EPOCHS)
    epochs.cut_end(30)
    assert epochs.entries == [(0, 0), (2, 10)]
    epochs.cut_end(0)
    assert epochs.entries == [(0, 0)]


def test_the_format_is_stable_and_read_back() -> None:
    payload = LeaderEpochs(EPOCHS).encode()
    assert encode(b"RVLE", 1, payload).hex() == (
        "52564c45" "0001" "0000" "00000024"
        "00000000" "0000000000000000" "00000002" "000000000000000a" "00000005" "000000000000001e"
        "c39d6f12"
    )  # fmt: skip
    assert decode_epochs(payload).entries == list(EPOCHS)
    with pytest.raises(ValueError, match="cut"):
        decode_epochs(payload[:-1])
