"""Finding the client settings: files, named profiles, the development server, and no secret in any
message."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven_client.profile import Profile, ProfileError, find_profile, read_profile, read_properties

CANARY = "canary-41-password"
PROPERTIES = f"""# comment
! also a comment
bootstrap.servers=localhost:9092
security.protocol=SASL_SSL
sasl.username = admin
sasl.password={CANARY}=with=equals
"""


def stored(tmp_path: Path, text: str) -> dict[str, str]:
    directory = tmp_path / "config" / "rivven"
    directory.mkdir(parents=True)
    (directory / "profiles.yaml").write_text(text)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def test_a_properties_file_is_read_and_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text(PROPERTIES)
    profile = find_profile(command_config=path, env={})
    assert profile.servers == "localhost:9092"
    assert profile.settings["sasl.username"] == "admin"
    assert profile.settings["sasl.password"] == f"{CANARY}=with=equals"
    assert CANARY not in repr(profile)


def test_the_development_server_is_found_by_itself(tmp_path: Path) -> None:
    (tmp_path / "data" / "dev").mkdir(parents=True)
    (tmp_path / "data" / "dev" / "client.properties").write_text(PROPERTIES)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "nothing")}
    assert find_profile(env=env, directory=tmp_path).servers == "localhost:9092"
    other = find_profile(env=env, directory=tmp_path, servers="localhost:1")
    assert other.servers == "localhost:1"
    assert other.settings["security.protocol"] == "SASL_SSL"


def test_a_java_file_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "client-java.properties"
    path.write_text(
        "bootstrap.servers=h:1\nsasl.mechanism=SCRAM-SHA-256\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="ad\\"min" password="a\\\\b";\n'
        "ssl.truststore.type=PEM\nssl.truststore.location=/ca.crt\n"
    )
    assert read_properties(path).settings == {
        "bootstrap.servers": "h:1",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": 'ad"min',
        "sasl.password": "a\\b",
        "ssl.ca.location": "/ca.crt",
    }
    path.write_text("ssl.truststore.location=/x.jks\n")
    with pytest.raises(ProfileError, match="must be PEM"):
        read_properties(path)


def test_named_profiles_with_references(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CANARY + "\n")
    env = stored(
        tmp_path,
        f"""
default: prod
profiles:
  prod:
    bootstrap.servers: a:1
    sasl.password: file:{tmp_path}/secret
    enable.ssl.certificate.verification: true
  test: {{bootstrap.servers: 'b:1', sasl.password: 'env:TEST_PASSWORD'}}
""",
    )
    prod = find_profile(env=env, directory=tmp_path)
    assert (prod.name, prod.servers, prod.settings["sasl.password"]) == ("prod", "a:1", CANARY)
    assert prod.settings["enable.ssl.certificate.verification"] == "true"
    env["TEST_PASSWORD"] = CANARY
    assert find_profile(profile="test", env=env).settings["sasl.password"] == CANARY
    env["RIVVEN_PROFILE"] = "test"
    assert find_profile(env=env).servers == "b:1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("profiles: {a: {sasl.password: " + CANARY + "}}", "must be a reference"),
        ("profiles: {a: {sasl.password: 'env:NOT_SET_ANYWHERE'}}", "no variable NOT_SET_ANYWHERE"),
        ("profiles: {a: {sasl.password: 'file:/no/such/file'}}", "No such file"),
        ("profiles: {a: {bootstrap.servers: [x]}}", "must be a text"),
        ("profiles: {b: {}, c: {}}", "no profile 'a'; there are: b, c"),
        ("profile: {}", "unknown key 'profile'"),
        ("- 1", "must hold a mapping"),
        ("a: [", "is not a YAML text"),
        ("profiles: {a: {client.id: x}}", "bootstrap.servers is missing"),
    ],
)
def test_a_bad_profile_is_one_line_without_its_secret(tmp_path: Path, text: str, reason: str) -> None:
    env = stored(tmp_path, text)
    with pytest.raises(ProfileError, match=reason) as caught:
        find_profile(profile="a", env=env)
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_found_is_said_and_an_address_alone_is_enough(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(ProfileError, match="no server to connect to"):
        find_profile(env=env, directory=tmp_path)
    assert find_profile(env=env, directory=tmp_path, servers="h:1") == Profile(
        "command line", {"bootstrap.servers": "h:1"}
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"x", "line 1 is not"), (b"\xff", "not UTF-8"), (b"#" * 1_100_000, "larger than")],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "client.properties"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=reason):
        read_properties(path)


def test_a_file_of_profiles_without_a_default_falls_through(tmp_path: Path) -> None:
    env = stored(tmp_path, "profiles: {}\n")
    assert read_profile(tmp_path / "config" / "rivven" / "profiles.yaml", None, env) is None
    with pytest.raises(ProfileError, match="no server"):
        find_profile(env=env, directory=tmp_path)


def test_the_admin_api_has_keys_of_its_own_which_librdkafka_never_sees(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text(PROPERTIES + f"admin.url=https://broker:9094\nadmin.token={CANARY}\n")
    profile = find_profile(command_config=path, env={})
    assert (profile.admin_url, profile.admin_token) == ("https://broker:9094", CANARY)
    assert not [key for key in profile.settings if key.startswith("admin.")]
    assert CANARY not in repr(profile)
    assert profile.with_servers("other:9092").admin_url == "https://broker:9094"


def test_the_development_server_names_its_admin_api_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text(PROPERTIES)
    assert find_profile(command_config=path, env={}).admin_url == ""
    (tmp_path / "admin.properties").write_text("admin.url=https://localhost:1\nsasl.username=mallory\n")
    profile = find_profile(command_config=path, env={})
    assert (profile.admin_url, profile.settings["sasl.username"]) == ("https://localhost:1", "admin")
    path.write_text(PROPERTIES + "admin.url=https://mine:2\n")
    assert find_profile(command_config=path, env={}).admin_url == "https://mine:2"


def test_a_token_in_a_named_profile_is_a_reference(tmp_path: Path) -> None:
    text = "profiles: {a: {bootstrap.servers: 'b:1', admin.url: 'https://b:2', admin.token: %s}}\n"
    env = stored(tmp_path, text % "env:TOKEN")
    assert find_profile(profile="a", env=env | {"TOKEN": CANARY}).admin_token == CANARY
    (tmp_path / "config" / "rivven" / "profiles.yaml").write_text(text % CANARY)
    with pytest.raises(ProfileError, match="must be a reference") as caught:
        find_profile(profile="a", env=env)
    assert CANARY not in str(caught.value)
