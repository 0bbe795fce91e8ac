"""Deciding about SCRAM credentials (KIP-554). Pure; the password itself is never seen here.

Error codes as Kafka: 33 unknown mechanism, 91 nothing to delete, 92 the same credential twice, 93 empty name
or iterations out of bounds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import records as r
from rivven.metadata.commands import AlterScram, ScramDeletion, ScramUpsertion, StoreScram
from rivven.metadata.image import MetadataImage
from rivven.metadata.tokens import Tokens
from rivven.metadata.users import UserForgotten, UserSettingsChanged, UserSettingsFamily, settings_in
from rivven.protocol.scram import (
    ITERATIONS_MAX,
    ITERATIONS_MIN,
    ScramMechanism,
    verifier_from_salted_password,
)
from rivven.types import Principal

SALT_BYTES_MAX = 1_024
"""Far above the 16 to 32 bytes in use; the salt travels in every login."""

USER_CHARACTERS_MAX = 256
"""A user name stands in every decision's cache key and in logs."""

USERS_MAX = 100_000
"""All credentials live in memory, about 1 KB per user."""

Result = dict[str, RivvenError | None]


def alter_scram(image: MetadataImage, command: AlterScram, now_ms: int) -> tuple[tuple[Any, ...], Result]:
    """See `AlterScram`. The tokens of a user that goes end with it, in the same step: whoever gets the name
    later must not find them, whenever the broker crashed."""
    changes: list[ScramDeletion | ScramUpsertion] = [*command.deletions, *command.upsertions]
    mentions = Counter((change.user, change.mechanism) for change in changes)
    results: Result = {}
    events: dict[str, list[r.MetadataEvent]] = {}
    added = 0
    for change in changes:
        user = change.user
        if results.setdefault(user, None) is not None:
            continue
        try:
            if mentions[user, change.mechanism] > 1:
                raise RivvenError(
                    "a credential is changed twice in one request", ErrorCode.DUPLICATE_RESOURCE
                )
            if isinstance(change, ScramDeletion):
                event = _deletion(image, change)
            else:
                event = _upsertion(change)
                new = not image.scram_credentials(user) and user not in events
                added += new
                _check_room(image, added if new else 0)
            events.setdefault(user, []).append(event)
        except RivvenError as error:
            results[user] = error
    kept: list[Any] = []
    for user, of_user in events.items():
        if results[user] is None:
            kept.extend(of_user)
            if _is_last(image, user, of_user):
                settings = image.of(UserSettingsFamily)
                kept.extend([UserForgotten(user)] if settings.has_settings(user) else [])
                kept.extend(image.of(Tokens).revoked_with(Principal("User", user), now_ms))
    return tuple(kept), results


def _is_last(image: MetadataImage, user: str, changes: list[r.MetadataEvent]) -> bool:
    """Whether a user loses its last credential; it takes its settings along: the name may be used again."""
    left = {verifier.mechanism for verifier in image.scram_credentials(user)}
    for change in changes:
        if isinstance(change, r.ScramUpserted):
            left.add(change.verifier.mechanism)
        elif isinstance(change, r.ScramDeleted):
            left.discard(change.mechanism)
    return not left


def store_scram(image: MetadataImage, command: StoreScram) -> tuple[Any, ...]:
    """See `StoreScram`."""
    user = command.user
    _check_user(user)
    known = bool(image.scram_credentials(user))
    if known and command.new:
        raise RivvenError("there is a user of this name", ErrorCode.DUPLICATE_RESOURCE)
    _check_room(image, 0 if known else 1)
    events: list[Any] = [r.ScramUpserted(user, verifier) for verifier in command.verifiers]
    if command.new and command.groups:
        events.append(UserSettingsChanged(user, settings_in(command.groups)))
    return tuple(events)


def _deletion(image: MetadataImage, change: ScramDeletion) -> r.MetadataEvent:
    mechanism = _mechanism(change.mechanism)
    _check_user(change.user)
    if image.scram_verifier(change.user, mechanism) is None:
        raise RivvenError("there is no such credential", ErrorCode.RESOURCE_NOT_FOUND)
    return r.ScramDeleted(change.user, mechanism)


def _upsertion(change: ScramUpsertion) -> r.MetadataEvent:
    mechanism = _mechanism(change.mechanism)
    _check_user(change.user)
    # Kafka stores at most 16,384; clients accept up to a million, and passwords people choose need them.
    if not ITERATIONS_MIN <= change.iterations <= ITERATIONS_MAX:
        raise _unacceptable(f"iterations must be {ITERATIONS_MIN} to {ITERATIONS_MAX}")
    if not 0 < len(change.salt) <= SALT_BYTES_MAX:
        raise _unacceptable(f"the salt must have 1 to {SALT_BYTES_MAX} bytes")
    if len(change.salted_password) != mechanism.key_bytes:
        raise _unacceptable(f"the salted password of {mechanism.value} has {mechanism.key_bytes} bytes")
    verifier = verifier_from_salted_password(
        mechanism, change.salted_password, change.salt, change.iterations
    )
    return r.ScramUpserted(change.user, verifier)


def _mechanism(code: int) -> ScramMechanism:
    mechanism = ScramMechanism.from_code(code)
    if mechanism is None:
        raise RivvenError("unknown SCRAM mechanism", ErrorCode.UNSUPPORTED_SASL_MECHANISM)
    return mechanism


def _check_user(user: str) -> None:
    if not 0 < len(user) <= USER_CHARACTERS_MAX:
        raise _unacceptable(f"the user name must have 1 to {USER_CHARACTERS_MAX} characters")


def _check_room(image: MetadataImage, added: int) -> None:
    if image.scram_user_count + added > USERS_MAX:
        raise RivvenError(f"there can be at most {USERS_MAX} users", ErrorCode.POLICY_VIOLATION)


def _unacceptable(message: str) -> RivvenError:
    return RivvenError(message, ErrorCode.UNACCEPTABLE_CREDENTIAL)
