"""What the metadata holds about a user besides its credentials: whether it is enabled, and its groups.

Pure. A dynamic user exists while it has a credential (`image.scram_credentials`); its settings go when the
last of them does, so that a name that is used again inherits nothing. Roles are bindings and live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.family import EventCodec
from rivven.protocol.scram import ScramVerifier

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

GROUPS_PER_USER_MAX = 100
"""Every group is looked up in every decision about the user."""

GROUP_CHARACTERS_MAX = 256
"""As user names: a group stands in rules, cache keys and logs."""


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The settings of one user; `groups` are sorted."""

    enabled: bool = True
    groups: tuple[str, ...] = ()


DEFAULTS = UserSettings()
"""What holds for a user nobody said anything about."""


@dataclass(frozen=True, slots=True)
class UserSettingsChanged:
    """All settings of a user after the change."""

    user: str
    settings: UserSettings


@dataclass(frozen=True, slots=True)
class UserForgotten:
    """A user lost its last credential, and with it its settings."""

    user: str


@dataclass(frozen=True, slots=True)
class AlterUser:
    """Enable or disable a user (None: as it is), add it to groups and take it out of groups.

    Reply: the `UserSettings` that hold now. Refused with RESOURCE_NOT_FOUND when there is no such user.
    """

    user: str
    enabled: bool | None = None
    add_groups: tuple[str, ...] = ()
    remove_groups: tuple[str, ...] = ()


class UserSettingsFamily:
    """Implements `metadata.family.Family`."""

    codecs: ClassVar[tuple[EventCodec, ...]] = (
        EventCodec(
            UserSettingsChanged,
            "user",
            lambda event: str(event.user),
            lambda event: {
                "user": event.user,
                "enabled": event.settings.enabled,
                "groups": list(event.settings.groups),
            },
            lambda document: UserSettingsChanged(
                document["user"], UserSettings(bool(document["enabled"]), tuple(document["groups"]))
            ),
        ),
        EventCodec(
            UserForgotten,
            "user-forgotten",
            lambda event: str(event.user),
            lambda event: {"user": event.user},
            lambda document: UserForgotten(document["user"]),
        ),
    )
    commands: ClassVar[tuple[type, ...]] = (AlterUser,)

    def __init__(self) -> None:
        self.version = 0
        self._settings: dict[str, UserSettings] = {}

    def settings(self, user: str) -> UserSettings:
        """What holds for a user, whether it exists or not."""
        return self._settings.get(user, DEFAULTS)

    def has_settings(self, user: str) -> bool:
        """Whether the user has any that are not the defaults."""
        return user in self._settings

    def groups(self) -> frozenset[str]:
        """Every group some user is in."""
        return frozenset(group for settings in self._settings.values() for group in settings.groups)

    def decide(self, command: Any, image: MetadataImage, now_ms: int) -> tuple[tuple[Any, ...], UserSettings]:
        """See `AlterUser`."""
        if not image.scram_credentials(command.user):
            raise RivvenError(f"there is no user {command.user}", ErrorCode.RESOURCE_NOT_FOUND)
        present = self.settings(command.user)
        for group in command.add_groups:  # one that stays may be older than a rule about names
            check_group(group)
        groups = (set(present.groups) - set(command.remove_groups)) | set(command.add_groups)
        enabled = present.enabled if command.enabled is None else command.enabled
        wanted = settings_in(groups, enabled)
        events = () if wanted == present else (UserSettingsChanged(command.user, wanted),)
        return events, wanted

    def apply(self, event: Any, version: int) -> None:
        """See `Family.apply`."""
        self.version = version
        if isinstance(event, UserSettingsChanged) and event.settings != DEFAULTS:
            self._settings[event.user] = event.settings
        else:
            self._settings.pop(event.user, None)

    def events(self) -> Iterator[Any]:
        """See `Family.events`."""
        return (UserSettingsChanged(user, settings) for user, settings in self._settings.items())


def settings_in(groups: Iterable[str], enabled: bool = True) -> UserSettings:
    """Settings of a user in these groups. Raises InvalidRequest when there are too many."""
    distinct = tuple(sorted(set(groups)))
    if len(distinct) > GROUPS_PER_USER_MAX:
        raise InvalidRequest(f"a user is in at most {GROUPS_PER_USER_MAX} groups")
    return UserSettings(enabled, distinct)


def check_group(name: str) -> None:
    """Raises InvalidRequest for a text that cannot name a group."""
    if not 0 < len(name) <= GROUP_CHARACTERS_MAX:
        raise InvalidRequest(f"a group's name has 1 to {GROUP_CHARACTERS_MAX} characters")
    if not name.isprintable() or name != name.strip() or name == "*":
        raise InvalidRequest("a group's name is printable, has no space at its ends and is not *")


@dataclass(frozen=True, slots=True)
class DynamicUser:
    """A user of the metadata as a whole. `version` rises with every change of its credentials."""

    name: str
    enabled: bool
    groups: tuple[str, ...]
    version: int
    verifiers: tuple[ScramVerifier, ...]


class DynamicUsers:
    """The users of the committed image, put together from their parts; satisfies what authn asks for."""

    def __init__(self, image: Callable[[], MetadataImage]) -> None:
        self._image = image

    @property
    def version(self) -> int:
        """Rises whenever a credential or a setting of any user changes."""
        image = self._image()
        return max(image.scram_version, image.of(UserSettingsFamily).version)

    def find(self, name: str) -> DynamicUser | None:
        """The user, None when it has no credential and so does not exist."""
        image = self._image()
        verifiers = image.scram_credentials(name)
        if not verifiers:
            return None
        settings = image.of(UserSettingsFamily).settings(name)
        version = image.scram_version_of(name)
        return DynamicUser(name, settings.enabled, settings.groups, version, tuple(verifiers))

    def names(self) -> Sequence[str]:
        """Every user, sorted."""
        return self._image().scram_users()

    def groups(self) -> frozenset[str]:
        """Every group some user is in."""
        return self._image().of(UserSettingsFamily).groups()
