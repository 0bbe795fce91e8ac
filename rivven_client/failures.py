"""What can go wrong between a client and a broker, told apart by what a person does about it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


class FailureKind(Enum):
    """Kinds of failure; the value is the hint that helps."""

    UNREACHABLE = "is the server running, and is the address right?"
    AUTHENTICATION = "check user name and password, and that the user exists"
    TLS = "check the CA file (ssl.ca.location) and the host name in the server's certificate"
    DENIED = "the user lacks a rule for this; see `rivven acl list`"
    NOT_FOUND = "check the name; names are case sensitive"
    EXISTS = "choose another name, or delete it first"
    BUSY = "wait until that is done, then try again"
    TIMEOUT = "the server did not answer in time; see its log"
    INVALID = "the server refused the request as it stands"
    OTHER = ""


class ClientFailed(Exception):
    """One failed operation: a one-line reason and its kind."""

    def __init__(self, reason: str, kind: FailureKind = FailureKind.OTHER) -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())
        self.kind = kind


_KINDS = {
    FailureKind.UNREACHABLE: ("_ALL_BROKERS_DOWN", "_RESOLVE", "_TRANSPORT", "BROKER_NOT_AVAILABLE"),
    FailureKind.AUTHENTICATION: (
        "_AUTHENTICATION",
        "SASL_AUTHENTICATION_FAILED",
        "UNSUPPORTED_SASL_MECHANISM",
    ),
    FailureKind.TLS: ("_SSL",),
    FailureKind.DENIED: (
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    FailureKind.NOT_FOUND: (
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
        "GROUP_ID_NOT_FOUND",
        "RESOURCE_NOT_FOUND",
        "_NOENT",
    ),
    FailureKind.EXISTS: ("TOPIC_ALREADY_EXISTS", "DUPLICATE_RESOURCE"),
    FailureKind.TIMEOUT: ("_TIMED_OUT", "REQUEST_TIMED_OUT", "_MSG_TIMED_OUT", "_TIMED_OUT_QUEUE"),
}


def from_kafka_error(error: KafkaError, about: str = "") -> ClientFailed:
    """The failure for an error of librdkafka or of the broker; `about` names what was asked for."""
    from confluent_kafka import KafkaError

    code = error.code()
    reason = error.str().removeprefix("Broker: ")
    reason = f"{about}: {reason}" if about else reason
    for kind, names in _KINDS.items():
        if any(getattr(KafkaError, name, None) == code for name in names):
            return ClientFailed(reason, kind)
    return ClientFailed(reason, FailureKind.INVALID if code > 0 else FailureKind.OTHER)
