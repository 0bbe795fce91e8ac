"""Structured logs: shape, levels, redaction (canary), and a reader that does not read."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from rivven.telemetry.logs import LINES_WAITING_MAX, ThreadedHandler, configure_logging, get_logger
from rivven.telemetry.redaction import HIDDEN, TEXT_CHARACTERS_MAX, redact_fields, redact_text

CANARY = "canary-93ab-do-not-log"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, ThreadedHandler):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(logging.WARNING)


def test_json_lines_hold_time_level_logger_event_and_fields(stream: io.StringIO) -> None:
    handler = configure_logging("json", "info", stream)
    log = get_logger("rivven.test", node=1).bind(listener="dev")
    log.debug("not at this level")
    log.info("listener ready", port=9092, name="näme\n")
    handler.close()
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "rivven.test",
        "event": "listener ready",
        "node": 1,
        "listener": "dev",
        "port": 9092,
        "name": "näme\n",
    }


def test_events_of_the_standard_library_get_the_same_shape(stream: io.StringIO) -> None:
    handler = configure_logging("json", "warning", stream)
    logging.getLogger("other").warning("%s is %d", "answer", 42)
    handler.close()
    line = json.loads(stream.getvalue())
    assert (line["logger"], line["level"], line["event"]) == ("other", "warning", "answer is 42")


def test_human_lines_escape_what_could_forge_a_line(stream: io.StringIO) -> None:
    handler = configure_logging("human", "debug", stream)
    get_logger("rivven.test").warning("topic a\n12:00:00.000 ERROR  forged", topic="x\x1b[31m")
    handler.close()
    (line,) = stream.getvalue().splitlines()
    assert "WARNING  rivven.test  topic a\\n12:00:00.000" in line
    assert line.endswith("topic=x\\x1b[31m")


@pytest.mark.parametrize("format_name", ["json", "human"])
def test_a_canary_never_reaches_the_log(stream: io.StringIO, format_name: str) -> None:
    handler = configure_logging(format_name, "debug", stream)
    log = get_logger("rivven.test", password=CANARY)
    log.info("user created", user="bob", salted_password=CANARY, nested={"client_secret": CANARY})
    log.info(f"sasl.password={CANARY}; connecting")
    log.info(f'parsed {{"password": "{CANARY} with spaces"}}')
    log.info(f"verifier $scram-sha-256$4096${CANARY}")
    log.info(f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----")
    log.info(f"Authorization: Bearer {CANARY}")
    log.info(f"client-final c=biws,r=nonce,p={CANARY.replace('-', '')}=")
    try:
        raise ValueError(f"bad password={CANARY}")
    except ValueError:
        log.exception("refused")
    handler.close()
    text = stream.getvalue()
    assert text.count("rivven.test") == 8
    assert CANARY not in text
    assert CANARY.replace("-", "") not in text
    assert "bob" in text
    assert "ValueError" in text


def test_an_api_token_loses_its_secret_and_keeps_its_id() -> None:
    said = redact_text(
        "login with rvn_abcdefghijkl2345003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1xy0bY failed"
    )
    assert said == f"login with rvn_abcdefghijkl2345{HIDDEN} failed"
    assert redact_text("a token begins with rvn_") == "a token begins with rvn_"


def test_redaction_leaves_ordinary_text_alone_and_bounds_it() -> None:
    text = "topic orders created with 3 partitions by User:alice, c=1,r=2"
    assert redact_text(text) == text
    assert len(redact_text("x" * 100_000)) == TEXT_CHARACTERS_MAX + 3
    assert redact_fields({"topic": "t", "size": 3, "token": "abc"}) == {
        "topic": "t",
        "size": 3,
        "token": HIDDEN,
    }


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "c=",
        "c=a,r=",
        "password",
        'password="',
        "password = ",
        "bearer ",
        "rvn_",
        "rvn_abcdefghijkl2345",
        "-----BEGIN PRIVATE KEY-----",
        "\\\\",
    ],
)
def test_no_text_is_slow_to_redact(piece: str) -> None:
    started = time.process_time()
    redact_text(piece * TEXT_CHARACTERS_MAX)
    assert time.process_time() - started < 0.25  # a quadratic pattern takes seconds


class StalledStream(io.StringIO):
    """A reader that stopped reading: write blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.released.wait(10)
        return super().write(text)


def test_a_stalled_reader_costs_lines_not_memory_or_time() -> None:
    stream = StalledStream()
    handler = ThreadedHandler(stream)
    handler.emit(logging.makeLogRecord({"msg": "first"}))
    assert stream.entered.wait(5)
    for number in range(LINES_WAITING_MAX + 25):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    assert handler.dropped == 25
    stream.released.set()
    handler.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == LINES_WAITING_MAX + 2
    assert lines[-1] == "25 log lines were dropped: standard error was not read"


def test_configuring_again_replaces_the_handler(stream: io.StringIO) -> None:
    configure_logging("json", "info", io.StringIO())
    handler = configure_logging("json", "info", stream)
    get_logger("rivven.test").error("once")
    handler.close()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_closed_stream_ends_the_writer_quietly() -> None:
    stream = io.StringIO()
    handler = ThreadedHandler(stream)
    stream.close()
    handler.emit(logging.makeLogRecord({"msg": "late"}))
    handler.close()
    assert handler.dropped == 0
