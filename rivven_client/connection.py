"""One profile's connections: librdkafka clients that report why they cannot connect instead of retrying in
silence.

librdkafka retries for ever and logs to standard error; here its errors are collected, and the first that
no retry will mend (wrong password, wrong certificate) ends the wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, TypeVar

from rivven_client.failures import ClientFailed, FailureKind, from_kafka_error
from rivven_client.profile import Profile

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

DEFAULT_TIMEOUT_S = 15.0
UNREACHABLE_AFTER_S = 4.0  # all brokers down for this long is an answer; a restarting broker is back in less
POLL_S = 0.1
FIRST_SLICE_S, SLICE_S_MAX = 0.2, 1.0
"""A blocking call does not see that a login was refused; the first slices are short because most are refused
at once, the later ones long enough for a slow broker's answer."""

Result = TypeVar("Result")

_silent = logging.getLogger("rivven_client.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Connection:
    """Makes clients from a profile and waits for their answers with a deadline."""

    def __init__(self, profile: Profile, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.profile = profile
        self.timeout_s = timeout_s
        self._fatal: ClientFailed | None = None
        self._down_since: float | None = None
        self._down_reason: ClientFailed | None = None
        self._admin: AdminClient | None = None

    def admin(self) -> AdminClient:
        """The administration client, made on first use."""
        if self._admin is None:
            from confluent_kafka.admin import AdminClient

            self._admin = _made(AdminClient, self._configuration())
        return self._admin

    def producer(self, settings: Mapping[str, Any] | None = None) -> Producer:
        """A producer: idempotent, waits for every replica."""
        from confluent_kafka import Producer

        return _made(Producer, {**self._configuration(), "enable.idempotence": True, **(settings or {})})

    def consumer(self, settings: Mapping[str, Any]) -> Consumer:
        """A consumer with these settings over the profile's."""
        from confluent_kafka import Consumer

        return _made(Consumer, {**self._configuration(), **settings})

    def result(self, future: Future[Result], about: str = "") -> Result:
        """Wait for an answer to an administration request; raises ClientFailed, whose reason begins with
        `about`."""
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + self.timeout_s
        admin = self.admin()
        while True:
            try:
                return future.result(POLL_S)
            except FutureTimeout:
                admin.poll(0)
                self.check()
                if time.monotonic() > deadline:
                    raise self._timed_out() from None
            except KafkaException as error:
                admin.poll(0)
                raise self._better(from_kafka_error(error.args[0], about)) from None

    def call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Call a blocking client function in short slices (it must take `timeout`); raises ClientFailed."""
        from confluent_kafka import KafkaError, KafkaException

        deadline, slice_s = time.monotonic() + self.timeout_s, FIRST_SLICE_S
        while True:
            try:
                return function(*arguments, timeout=min(slice_s, self.timeout_s), **options)
            except KafkaException as error:
                slice_s = min(2 * slice_s, SLICE_S_MAX)
                failure = from_kafka_error(error.args[0])
                if self._admin is not None:
                    self._admin.poll(0)
                self.check()
                waiting = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)
                if error.args[0].code() not in waiting:
                    raise failure from None
                if time.monotonic() > deadline:
                    raise self._better(failure) from None

    def check(self) -> None:
        """Raise ClientFailed when a collected error means that waiting longer is of no use."""
        if self._fatal is not None:
            raise self._fatal
        if self._down_since is not None and time.monotonic() - self._down_since > UNREACHABLE_AFTER_S:
            raise self._unreachable()

    def connected(self) -> None:
        """Forget that brokers were down: something was received."""
        self._down_since = None

    def _configuration(self) -> dict[str, Any]:
        return {
            "client.id": "rivven-cli",
            "socket.connection.setup.timeout.ms": 5000,
            "reconnect.backoff.max.ms": 500,
            **self.profile.settings,
            "error_cb": self._failed,
            "logger": _silent,
        }

    def _failed(self, error: KafkaError) -> None:
        failure = from_kafka_error(error)
        if failure.kind in (FailureKind.AUTHENTICATION, FailureKind.TLS):
            self._fatal = failure
        elif failure.kind is FailureKind.UNREACHABLE:
            if self._down_since is None:
                self._down_since = time.monotonic()
            if "brokers are down" not in failure.reason or self._down_reason is None:
                self._down_reason = failure

    def _better(self, failure: ClientFailed) -> ClientFailed:
        """The collected cause, when the failure itself only says that time ran out."""
        if self._fatal is not None:
            return self._fatal
        if failure.kind in (FailureKind.TIMEOUT, FailureKind.UNREACHABLE) and self._down_since is not None:
            return self._unreachable()
        return failure

    def _unreachable(self) -> ClientFailed:
        detail = f" ({self._down_reason.reason})" if self._down_reason else ""
        return ClientFailed(f"cannot connect to {self.profile.servers}{detail}", FailureKind.UNREACHABLE)

    def _timed_out(self) -> ClientFailed:
        return self._better(
            ClientFailed(
                f"{self.profile.servers} did not answer in {self.timeout_s:g} s", FailureKind.TIMEOUT
            )
        )


def _made(kind: Callable[[dict[str, Any]], Result], configuration: dict[str, Any]) -> Result:
    """Construct a client; a bad setting becomes a one-line failure."""
    from confluent_kafka import KafkaException

    try:
        return kind(configuration)
    except KafkaException as error:
        raise ClientFailed(
            f"the client settings are refused: {error.args[0].str()}", FailureKind.INVALID
        ) from None
