"""Where to connect and as whom: client settings in librdkafka's names, from a file, a named profile or the
development server.

Reads files, opens no connection. Passwords never appear in a repr or an error; in profiles.yaml they are
references (``file:PATH``, ``env:NAME``), in properties files as written by ``rivven server --dev`` they
are literal, as kcat needs them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FILE_BYTES_MAX = 1_048_576  # a client file has ten lines; stops a wrong path from filling memory
DEV_PROPERTIES = Path("data/dev/client.properties")

_SECRETS = frozenset(
    {
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "admin.token",
    }
)
_ADMIN = ("admin.url", "admin.token")
"""Keys of the Admin API; librdkafka does not know them and refuses what it does not know."""

ADMIN_FILE = "admin.properties"
"""Beside a properties file: the keys of the Admin API for it, as the development server writes them."""
_JAVA_ONLY = frozenset({"sasl.jaas.config", "ssl.truststore.location", "ssl.truststore.type"})
_JAAS_OPTION = re.compile(r'\b(username|password)\s*=\s*"((?:[^"\\]|\\.)*)"')


class ProfileError(ValueError):
    """A client file or profile that is missing or wrong; the text is one line and holds no secret."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Client settings under a name. `settings` are librdkafka's, secrets resolved."""

    name: str
    settings: Mapping[str, str] = field(repr=False)
    admin_url: str = ""
    """https://HOST:PORT of the Admin API; empty where none is named."""
    admin_token: str = field(default="", repr=False)
    """A bearer token for the Admin API, instead of user and password."""

    @property
    def servers(self) -> str:
        """host:port of the brokers to ask first."""
        return self.settings.get("bootstrap.servers", "")

    def with_servers(self, servers: str) -> Profile:
        """The same settings for other brokers."""
        return replace(self, settings={**self.settings, "bootstrap.servers": servers})


def profiles_path(env: Mapping[str, str]) -> Path:
    """Where named profiles are kept: rivven/profiles.yaml below the XDG configuration directory."""
    base = env.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "rivven" / "profiles.yaml"


def find_profile(
    *,
    command_config: Path | None = None,
    profile: str | None = None,
    servers: str | None = None,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Profile:
    """The settings to use: `command_config`, else the named `profile` (or RIVVEN_PROFILE), else the
    default of profiles.yaml, else the development server's file below `directory` (the working
    directory).

    `servers` replaces the brokers of what was found, and stands alone, unencrypted, where nothing was
    found. Raises ProfileError.
    """
    env = os.environ if env is None else env
    found = _find(command_config, profile or env.get("RIVVEN_PROFILE"), env, directory or Path())
    if found is None:
        if not servers:
            raise ProfileError(
                "no server to connect to: none of --bootstrap-server, --command-config, a profile"
            )
        return Profile("command line", {"bootstrap.servers": servers})
    if servers:
        found = found.with_servers(servers)
    if not found.servers:
        raise ProfileError(f"{found.name}: bootstrap.servers is missing")
    return found


def _find(
    command_config: Path | None, name: str | None, env: Mapping[str, str], directory: Path
) -> Profile | None:
    if command_config is not None:
        return read_properties(command_config)
    stored = profiles_path(env)
    if name or stored.is_file():
        found = read_profile(stored, name, env)
        if found is not None:
            return found
    dev = directory / DEV_PROPERTIES
    return read_properties(dev) if dev.is_file() else None


def read_properties(path: Path) -> Profile:
    """A librdkafka or Java properties file; Java's PEM truststore and JAAS line are translated."""
    settings = _read_pairs(path)
    beside = path.with_name(ADMIN_FILE)
    if not settings.keys() & set(_ADMIN) and beside.is_file():
        settings |= {key: value for key, value in _read_pairs(beside).items() if key in _ADMIN}
    return _profile(str(path), _from_java(path, settings) if _JAVA_ONLY & settings.keys() else settings)


def _profile(name: str, settings: dict[str, str]) -> Profile:
    kafka = {key: value for key, value in settings.items() if key not in _ADMIN}
    return Profile(name, kafka, settings.get("admin.url", ""), settings.get("admin.token", ""))


def _read_pairs(path: Path) -> dict[str, str]:
    settings: dict[str, str] = {}
    for number, line in enumerate(_read(path).splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise ProfileError(f"{path}: line {number} is not of the form name=value")
        settings[name.strip()] = value.strip()
    return settings


def read_profile(path: Path, name: str | None, env: Mapping[str, str]) -> Profile | None:
    """The profile called `name`, or the default one, of a profiles.yaml; None when there is no default."""
    import yaml

    try:
        content = yaml.safe_load(_read(path))
    except yaml.YAMLError:
        raise ProfileError(f"{path}: is not a YAML text") from None
    content = content if content is not None else {}
    if not isinstance(content, dict) or not isinstance(content.get("profiles", {}), dict):
        raise ProfileError(f"{path}: must hold a mapping with the keys default and profiles")
    unknown = content.keys() - {"default", "profiles"}
    if unknown:
        raise ProfileError(f"{path}: unknown key {min(map(str, unknown))!r}; known here: default, profiles")
    name = name or content.get("default")
    if name is None:
        return None
    settings = content.get("profiles", {}).get(name)
    if not isinstance(settings, dict):
        known = ", ".join(sorted(map(str, content.get("profiles", {})))) or "none"
        raise ProfileError(f"{path}: no profile {name!r}; there are: {known}")
    return _profile(
        str(name), {str(key): _resolved(path, str(key), value, env) for key, value in settings.items()}
    )


def _resolved(path: Path, key: str, value: Any, env: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ProfileError(f"{path}: {key} must be a text or a number")
    text = str(value)
    if key not in _SECRETS:
        return text
    scheme, _, place = text.partition(":")
    if scheme == "env" and place:
        if place not in env:
            raise ProfileError(f"{path}: {key}: the environment has no variable {place}")
        return env[place]
    if scheme == "file" and place:
        return _read(Path(place).expanduser()).rstrip("\r\n")
    raise ProfileError(f"{path}: {key} must be a reference, file:PATH or env:NAME, not the secret itself")


def _from_java(path: Path, settings: dict[str, str]) -> dict[str, str]:
    translated = {key: value for key, value in settings.items() if key not in _JAVA_ONLY}
    if "ssl.truststore.location" in settings:
        if settings.get("ssl.truststore.type", "JKS").upper() != "PEM":
            raise ProfileError(f"{path}: ssl.truststore.type must be PEM; librdkafka reads no Java keystores")
        translated["ssl.ca.location"] = settings["ssl.truststore.location"]
    for option, value in _JAAS_OPTION.findall(settings.get("sasl.jaas.config", "")):
        translated[f"sasl.{option}"] = re.sub(r"\\(.)", r"\1", value)
    return translated


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ProfileError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        return content.decode()
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProfileError(f"{path}: is not UTF-8 text") from None
