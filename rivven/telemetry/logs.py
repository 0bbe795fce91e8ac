"""Structured logs on standard error: one JSON object or one readable line per event.

Built on the standard logging tree, so that libraries end up in the same place. Lines are written by a
thread: a reader that stalls must not stall the event loop. When it stalls for long, lines are dropped and
counted, never memory.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from typing import IO

from rivven.telemetry.redaction import redact_fields, redact_text

LINES_WAITING_MAX = 10_000  # about 2 MB of text when standard error is not read
CLOSE_SECONDS_MAX = 2.0  # a stalled reader must not keep the process from ending

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class BoundLogger:
    """A logger whose events carry fields: ``log.info("listener ready", listener="dev", port=9092)``."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: dict[str, object] | None = None) -> None:
        self._logger = logger
        self._fields = fields or {}

    def bind(self, **fields: object) -> BoundLogger:
        """A logger that adds these fields to every event."""
        return BoundLogger(self._logger, {**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, fields, traceback=True)

    def _write(self, level: int, event: str, fields: dict[str, object], traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": {**self._fields, **fields}}
            self._logger.log(level, "%s", event, exc_info=traceback, extra=extra, stacklevel=3)


def get_logger(name: str, **fields: object) -> BoundLogger:
    """The logger of a component, by its dotted name."""
    return BoundLogger(logging.getLogger(name), dict(fields))


class JsonFormatter(logging.Formatter):
    """One JSON object: time (UTC, ms), level, logger, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact_text(record.getMessage()),
        }
        for name, value in redact_fields(getattr(record, "fields", {})).items():
            line[f"field_{name}" if name in line else name] = value
        if record.exc_info:
            line["exception"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """``12:00:00.000 INFO  rivven.server  event  name=value``; control characters are escaped (log
    forging)."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_utc(record.created)[11:-1], f"{record.levelname:<7}", record.name]
        parts.append(_visible(redact_text(record.getMessage())))
        for name, value in redact_fields(getattr(record, "fields", {})).items():
            parts.append(f"{name}={_visible(str(value))}")
        line = "  ".join(parts)
        if record.exc_info:
            # The indent keeps lines of a message inside an exception from passing as events of their own.
            trace = redact_text(self.formatException(record.exc_info))
            line += "".join("\n    " + _visible(row) for row in trace.splitlines())
        return line


class ThreadedHandler(logging.Handler):
    """Formats where the event happens, writes on a thread of its own."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._waiting = threading.Condition()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a log line that cannot be built must not end a request
            self.handleError(record)
            return
        with self._waiting:
            if len(self._lines) >= LINES_WAITING_MAX:
                self.dropped += 1
                return
            self._lines.append(line)
            self._waiting.notify()

    def close(self) -> None:
        """Write what waits, for at most CLOSE_SECONDS_MAX; called by logging.shutdown at exit, too."""
        with self._waiting:
            self._closing = True
            self._waiting.notify()
        self._thread.join(CLOSE_SECONDS_MAX)
        super().close()

    def _run(self) -> None:
        while True:
            with self._waiting:
                while not self._lines and not self._closing:
                    self._waiting.wait()
                lines, self._lines = self._lines, deque()
                dropped, self.dropped = self.dropped, 0
                closing = self._closing
            if dropped:
                lines.append(f"{dropped} log lines were dropped: standard error was not read")
            try:
                self._stream.write("".join(line + "\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):  # the reader went away, or the stream was closed at exit
                return
            if closing:
                return


def configure_logging(format: str, level: str, stream: IO[str] | None = None) -> ThreadedHandler:
    """Send every log event of the process to `stream` (standard error).

    `format` is json or human, `level` debug, info, warning or error. Replaces an earlier configuration;
    the returned handler's close() writes what still waits.
    """
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, ThreadedHandler):
            root.removeHandler(old)
            old.close()
    handler = ThreadedHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else HumanFormatter())
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    return handler


def _utc(seconds: float) -> str:
    moment = time.gmtime(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(seconds * 1000) % 1000:03d}Z"


def _visible(text: str) -> str:
    """The text with control characters escaped, so that it stays on one line of a terminal."""
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
