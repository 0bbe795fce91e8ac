"""Users of a file and of the metadata, by SCRAM and by PLAIN, over the wire of the shipped broker."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.scram import ScramMechanism, client_first, derive_verifier, format_verifier
from rivven.protocol.scram import parse_server_first as parse_challenge
from rivven.security.authn.credentials import DEFAULT_SHAPES
from rivven_client.admin import AdminApi, path
from rivven_client.profile import Profile
from tests.conformance.client import Client, batch, fresh
from tests.conformance.live import PROMISED_S, Live
from tests.conformance.process import LogTail, metric
from tests.conformance.wire import Closed, Refused
from tests.shipped.broker import RIVVEN, BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account
from tests.shipped.running_time import running_time

SCRAM = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
SETTINGS = {"connection.failed.authentication.delay.ms": 0}
LISTENERS = [
    {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "sasl": [*SCRAM, "PLAIN"]},
    {"name": "sasl_plaintext", "bind": "127.0.0.1:0", "protocol": "sasl_plaintext"},
]
FRED, ARGON = Account("fred", "Fred-Pa55word"), Account("argon", "Argon-Pa55word")
DISABLED = Account("disabled", "Dis-abled 55")


def scram_hash(password: str, iterations: int = 4096) -> str:
    verifier = derive_verifier(ScramMechanism.SCRAM_SHA_256, password, b"salt" * 8, iterations)
    return format_verifier(verifier)


def argon2_hash(password: str) -> str:
    from argon2.low_level import Type, hash_secret

    return hash_secret(password.encode(), b"salt" * 4, 1, 1024, 1, 32, Type.ID).decode()


def user_lines(**users: str) -> str:
    return "users:\n" + "".join(f"  {name}: {{{entry}}}\n" for name, entry in users.items())


def good_lines(**more: str) -> str:
    fred = f'password_hash: "{scram_hash(FRED.password)}", groups: [staff], roles: [reader]'
    disabled = f'password_hash: "{scram_hash(DISABLED.password)}", enabled: false'
    argon = f'password_hash: "{argon2_hash(ARGON.password)}"'
    return user_lines(fred=fred, argon=argon, disabled=disabled, **more)


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.yaml"
    path.touch(mode=0o600)
    path.write_text(good_lines())
    return path


@pytest.fixture(scope="module")
def extra(users_file: Path) -> dict[str, object]:
    return {"listeners": [dict(one) for one in LISTENERS], "auth": {"users_file": str(users_file)}}


@pytest.fixture(autouse=True)
def _as_it_was(broker: ShippedBroker, users_file: Path) -> Iterator[None]:
    yield
    if users_file.read_text() != good_lines():
        replace(broker, users_file, good_lines())


def replace(broker: ShippedBroker, path: Path, text: str, says: str = "holds") -> None:
    """Another content at once, and the broker's word that it has seen it."""
    log = LogTail(broker)
    other = path.with_name("next.yaml")
    other.touch(mode=0o600)
    other.write_text(text)
    other.replace(path)
    log.wait_for(says)


def logs_in(broker: ShippedBroker, account: Account, mechanism: str = "PLAIN") -> bool:
    connection = broker.connection("sasl_ssl", account).with_mechanism(mechanism)
    try:
        with Client(connection) as client:
            return bool(client.metadata().brokers)
    except Refused as refused:
        assert refused.code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert refused.text == f"Authentication failed: invalid credentials with SASL mechanism {mechanism}"
        return False


def challenge(broker: ShippedBroker, user: str) -> tuple[bytes, int]:
    """Salt and iterations that somebody without a password is shown."""
    with Client(broker.connection(), login=False) as client:
        request = m.SaslHandshakeRequest(mechanism=SCRAM[0])
        client.call(ApiKey.SASL_HANDSHAKE, 1, request)
        first = client_first(user, "nonce")
        answer = parse_challenge(client.token(first.message), first)
        return answer.salt, answer.iterations


def rivven(broker: ShippedBroker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the administrator."""
    file = broker.connection().librdkafka_file(broker.directory / "admin.properties")
    command = [RIVVEN, "--command-config", file, "--admin-url", broker.admin_url(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestLoggingIn:
    """Who gets in, by which mechanism."""

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    def test_a_user_of_the_file(self, broker: ShippedBroker, mechanism: str) -> None:
        assert logs_in(broker, FRED, mechanism)
        assert not logs_in(broker, Account("fred", "fred-pa55word"), mechanism)

    def test_an_argon2id_hash_serves_plain_only(self, broker: ShippedBroker) -> None:
        assert logs_in(broker, ARGON)
        assert not logs_in(broker, Account("argon", "wrong"))
        assert not logs_in(broker, ARGON, "SCRAM-SHA-256")

    @pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
    def test_a_user_of_the_metadata(self, broker: ShippedBroker, admin: Client, mechanism: str) -> None:
        account = admin.create_user()
        assert logs_in(broker, account, mechanism)
        assert not logs_in(broker, Account(account.user, "wrong"), mechanism)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    def test_disabled_and_unknown_users_hear_what_a_wrong_password_hears(
        self, broker: ShippedBroker, mechanism: str
    ) -> None:
        assert not logs_in(broker, DISABLED, mechanism)
        assert not logs_in(broker, Account("nobody", FRED.password), mechanism)

    def test_unknown_users_cost_a_derivation_like_known_ones(self, broker: ShippedBroker) -> None:
        def made(account: Account) -> float:
            before = metric(broker, "rivven_password_derivations_total")
            assert not logs_in(broker, account)
            return metric(broker, "rivven_password_derivations_total") - before

        wrong = [Account("fred", "x"), DISABLED, Account("nobody", "x")]
        assert [made(account) for account in wrong] == [1, 1, 1]

    def test_plain_is_not_offered_without_tls(self, broker: ShippedBroker) -> None:
        connection = broker.connection("sasl_plaintext", FRED).with_mechanism("PLAIN")
        with pytest.raises(Refused) as refused:
            Client(connection)
        assert refused.value.code == ErrorCode.UNSUPPORTED_SASL_MECHANISM
        assert refused.value.text == ",".join(SCRAM)

    def test_the_salt_of_an_unknown_user_survives_a_restart(self, own_directory: Path) -> None:
        with ShippedBroker(own_directory) as broker:
            before = challenge(broker, "nobody")
            broker.restart()
            assert challenge(broker, "nobody") == before


class TestFileChanges:
    """The file is followed while the broker runs."""

    def test_a_user_who_comes_can_log_in_and_one_who_goes_is_out_within_a_second(
        self, broker: ShippedBroker, users_file: Path
    ) -> None:
        new = Account("new", "New-Pa55word")
        assert not logs_in(broker, new)
        replace(broker, users_file, good_lines(new=f'password_hash: "{scram_hash(new.password)}"'))
        assert logs_in(broker, new)
        with (
            Client(broker.connection("sasl_ssl", new)) as client,
            Client(broker.connection("sasl_ssl", FRED)) as fred,
        ):
            live = Live(client, "idle", "")
            moment = running_time()
            replace(broker, users_file, good_lines())
            assert live.closed_after(moment) <= PROMISED_S
            assert fred.metadata().brokers, "who did not change stays"
        assert not logs_in(broker, new)

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ("enabled: false", "the user was disabled"),
            ("groups: []", "the user was taken out of a group"),
        ],
    )
    def test_what_is_taken_away_ends_the_session(
        self, broker: ShippedBroker, users_file: Path, entry: str, reason: str
    ) -> None:
        hashed = f'password_hash: "{scram_hash(FRED.password)}"'
        log = LogTail(broker)
        with Client(broker.connection("sasl_ssl", FRED)) as client:
            live = Live(client, "idle", "")
            moment = running_time()
            groups = "" if "groups" in entry else ", groups: [staff]"
            replace(broker, users_file, user_lines(fred=f"{hashed}, {entry}{groups}"))
            assert live.closed_after(moment) <= PROMISED_S
        log.wait_for(reason)

    def test_a_broken_file_leaves_everything_as_it_was_and_says_so(
        self, broker: ShippedBroker, users_file: Path
    ) -> None:
        with Client(broker.connection("sasl_ssl", FRED)) as client:
            replace(broker, users_file, good_lines(oops="roles: reader"), "users.oops.roles: must be a list")
            assert client.metadata().brokers
        assert logs_in(broker, FRED)
        assert metric(broker, "rivven_users_file_refused") == 1
        replace(broker, users_file, good_lines())
        assert metric(broker, "rivven_users_file_refused") == 0

    def test_a_name_the_metadata_has_too_is_not_taken_over(
        self, broker: ShippedBroker, admin: Client, users_file: Path
    ) -> None:
        account = admin.create_user(fresh("both"))
        other = good_lines(**{account.user: f'password_hash: "{scram_hash("Other-Pa55word")}"'})
        replace(broker, users_file, other, f"in the users file and in the metadata at once: {account.user}")
        assert logs_in(broker, account)
        assert not logs_in(broker, Account(account.user, "Other-Pa55word"))


class TestKafkasApi:
    """API 50 shows users of the file, API 51 leaves them alone."""

    def test_a_user_of_the_file_is_shown_and_cannot_be_changed_or_deleted(
        self, broker: ShippedBroker, admin: Client
    ) -> None:
        answer = admin.call(
            ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, 0, m.DescribeUserScramCredentialsRequest(users=None)
        )
        shown = {one.user: [info.iterations for info in one.credential_infos] for one in answer.results}
        assert shown["fred"] == shown["disabled"] == [4096]
        assert "argon" not in shown
        deletion = m.AlterUserScramCredentialsRequest.ScramCredentialDeletion(name="fred", mechanism=1)
        request = m.AlterUserScramCredentialsRequest(deletions=[deletion])
        [result] = admin.call(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, request).results
        assert result.error_code == ErrorCode.UNACCEPTABLE_CREDENTIAL
        assert result.error_message == "the user is in the users file and changed there"
        assert logs_in(broker, FRED)


class TestAttack:
    """Guesses from one address, and a login in the middle of them from the same one."""

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    def test_a_right_password_is_never_refused_because_of_others_failures(
        self, own_directory: Path, mechanism: str
    ) -> None:
        guard = {"connection.failed.authentication.delay.ms": 500}
        listeners = {"listeners": [dict(LISTENERS[0])]}
        with ShippedBroker(own_directory, settings=guard, extra=listeners) as broker:
            with Client(broker.connection()) as admin:
                victim, other = admin.create_user("victim"), admin.create_user("other")
            over, guesses = threading.Event(), [0] * 24

            def guess(number: int) -> None:
                while not over.is_set():
                    guesses[number] += 1
                    account = Account(victim.user, f"guess {number} {guesses[number]}")
                    connection = broker.connection("sasl_ssl", account).with_mechanism(mechanism)
                    with pytest.raises((Refused, Closed, OSError)):
                        Client(connection)

            threads = [threading.Thread(target=guess, args=(n,), daemon=True) for n in range(len(guesses))]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            waits = []
            for _ in range(5):
                for account in (victim, other):
                    started = time.monotonic()
                    assert logs_in(broker, account, mechanism)
                    waits.append(time.monotonic() - started)
            over.set()
            for thread in threads:
                thread.join(20)
            assert sum(guesses) >= len(guesses)
            assert max(waits) < 5, f"a right password waits for no back-off: {waits}"


class TestCommands:
    """`rivven user` over Kafka's API and the Admin API."""

    def test_disable_ends_sessions_and_enable_lets_in_again(
        self, broker: ShippedBroker, admin: Client
    ) -> None:
        account = admin.create_user()
        with Client(broker.connection("sasl_ssl", account)) as client:
            live = Live(client, "idle", "")
            done = rivven(broker, "user", "disable", account.user)
            moment = running_time()
            assert done.returncode == 0, done.stderr
            assert live.closed_after(moment) <= PROMISED_S
        assert not logs_in(broker, account)
        assert not logs_in(broker, account, "SCRAM-SHA-256")
        assert rivven(broker, "user", "enable", account.user).returncode == 0
        assert logs_in(broker, account)

    def test_a_user_from_creation_to_deletion(self, broker: ShippedBroker, tmp_path: Path) -> None:
        import json

        name = fresh("made")
        made = rivven(broker, "user", "create", name, "--generate", "--group", "dev", "-o", "json")
        assert made.returncode == 0, made.stderr
        facts = json.loads(made.stdout)
        assert facts["groups"] == ["dev"]
        account = Account(name, facts["password"])
        assert logs_in(broker, account)
        salt, iterations = challenge(broker, name)
        assert (iterations, len(salt)) in DEFAULT_SHAPES, "what our command makes looks like a decoy"
        shown = json.loads(rivven(broker, "user", "show", name, "-o", "json").stdout)
        assert shown["mechanisms"] == {"SCRAM-SHA-256": 8192, "SCRAM-SHA-512": 8192}
        assert (shown["enabled"], shown["groups"], shown["source"]) == (True, ["dev"], "metadata")
        with Client(broker.connection("sasl_ssl", account)) as client:
            live = Live(client, "idle", "")
            done = rivven(broker, "user", "groups", name, "--add", "ops", "--remove", "dev")
            moment = running_time()
            assert done.stdout.strip() == f"groups of user {name}: ops"
            assert live.closed_after(moment) <= PROMISED_S
        password = tmp_path / "password"
        password.write_text("Typed-Pa55word\n")
        arguments = ("passwd", name, "--password-file", str(password), "--iterations", "5000")
        assert rivven(broker, "user", *arguments).returncode == 0
        assert not logs_in(broker, account)
        assert logs_in(broker, Account(name, "Typed-Pa55word"))
        assert rivven(broker, "user", "delete", name, "--yes").returncode == 0
        assert not logs_in(broker, Account(name, "Typed-Pa55word"))
        assert rivven(broker, "user", "show", name).returncode != 0

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("disable", "fred"), "the user is in the users file and changed there"),
            (("disable", "nobody"), "there is no such user"),
            (("passwd", "nobody", "--generate"), "there is no user nobody"),
            (("create", "fred", "--generate"), "user fred exists already"),
            (("groups", "fred"), "Give --add or --remove"),
        ],
    )
    def test_refusals(self, broker: ShippedBroker, arguments: tuple[str, ...], says: str) -> None:
        done = rivven(broker, "user", *arguments)
        assert done.returncode != 0
        assert says in done.stderr

    def test_groups_that_cannot_be_set_leave_nobody_without_a_password(
        self, broker: ShippedBroker, admin: Client
    ) -> None:
        import json

        name = fresh("grouped")
        create = ("user", "create", name, "--generate", "-o", "json")
        done = rivven(broker, "--admin-url", "https://localhost:1", *create, "--group", "dev")
        assert "cannot talk to the Admin API" in done.stderr
        assert rivven(broker, "user", "show", name).returncode != 0, "nobody is made before that is known"
        done = rivven(broker, *create, "--group", "*")
        assert done.returncode != 0
        assert f"rivven user groups {name} --add *" in done.stderr
        assert logs_in(broker, Account(name, json.loads(done.stdout)["password"]))

    def test_a_hash_of_the_command_is_a_user(
        self, broker: ShippedBroker, users_file: Path, tmp_path: Path
    ) -> None:
        password = tmp_path / "password"
        password.write_text("Hashed-Pa55word\n")
        made = {}
        for name, options in {"scrammed": ("--iterations", "5000"), "argoned": ("--argon2id",)}.items():
            done = rivven(broker, "auth", "hash-password", "--password-file", str(password), *options)
            assert done.returncode == 0, done.stderr
            made[name] = f"password_hash: '{done.stdout.strip()}'"
        replace(broker, users_file, good_lines(**made))
        for name in made:
            assert logs_in(broker, Account(name, "Hashed-Pa55word"))
            assert not logs_in(broker, Account(name, "hashed-Pa55word"))


def test_the_admin_api_makes_typed_passwords_as_configured(own_directory: Path) -> None:
    keys: dict[str, Any] = {"auth": {"mechanism": "plain", "scram": {"iterations": 5000}}}
    with ShippedBroker(own_directory, extra=keys) as broker:
        connection = broker.connection().with_mechanism("PLAIN")
        settings = {name: str(value) for name, value in connection.librdkafka().items()}
        api = AdminApi(Profile("test", settings, broker.admin_url()))
        made = api.post(path("users"), {"name": "ann", "password": "Typed-Pa55word"})
        assert made["user"]["mechanisms"] == {"SCRAM-SHA-256": 5000, "SCRAM-SHA-512": 5000}
        assert logs_in(broker, Account("ann", "Typed-Pa55word"))
        assert not logs_in(broker, Account("ann", "typed-Pa55word"))
        with pytest.raises(Refused) as refused:
            Client(broker.connection())
        assert refused.value.code == ErrorCode.UNSUPPORTED_SASL_MECHANISM


def test_fewer_iterations_than_configured_are_refused_whoever_salts(own_directory: Path) -> None:
    keys: dict[str, Any] = {"auth": {"scram": {"min_iterations": 9000}}}
    with ShippedBroker(own_directory, extra=keys) as broker:
        few = rivven(broker, "user", "create", "few", "--generate")  # 8,192
        assert "at least 9000 iterations (auth.scram.min_iterations)" in few.stderr
        enough = rivven(broker, "user", "create", "enough", "--generate", "--iterations", "9000")
        assert enough.returncode == 0, enough.stderr
        assert "4096<=x<=1000000" in rivven(broker, "user", "passwd", "enough", "--iterations", "1").stderr


def test_a_token_of_a_super_user_lets_through_what_its_scope_says(own_directory: Path) -> None:
    keys: dict[str, Any] = {"listeners": [dict(LISTENERS[0])]}
    with ShippedBroker(own_directory, extra=keys) as broker:
        connection = broker.connection().with_mechanism("PLAIN")
        settings = {name: str(value) for name, value in connection.librdkafka().items()}
        api = AdminApi(Profile("test", settings, broker.admin_url()))
        scope = ["topic:ci-*:produce,describe"]
        token = api.post(path("tokens"), {"name": "ci", "scope": scope})["token"]
        with Client(broker.connection()) as admin:
            admin.create_topic("ci-1")
            admin.create_topic("other")
        bearer = broker.connection("sasl_ssl", Account("token", token)).with_mechanism("PLAIN")
        with Client(bearer) as client:
            assert client.produced("ci-1", b"x") == 0
            denied = client.produce("other", batch(b"x"))
            assert denied.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
            assert client.try_create_topic("ci-2").error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED


class TestStarts:
    """What a broker does not start with."""

    def refused(self, directory: Path, **keys: Any) -> str:
        broker = ShippedBroker(directory, extra=keys)
        with pytest.raises(BrokerDidNotStart) as told:
            broker.start()
        return str(told.value)

    def test_a_file_with_errors(self, own_directory: Path, tmp_path: Path) -> None:
        path = tmp_path / "users.yaml"
        path.write_text("users:\n  ann:\n    rolls: [x]\n")
        broker = ShippedBroker(own_directory)
        broker.init()
        broker.change(auth={"users_file": str(path)})
        with pytest.raises(
            BrokerDidNotStart, match=r"users.yaml: line 3: users.ann.rolls: no such key; did you"
        ):
            broker.start()

    def test_a_name_in_both_places(self, own_directory: Path, tmp_path: Path) -> None:
        path = tmp_path / "users.yaml"
        path.write_text(user_lines(admin=f'password_hash: "{scram_hash("x")}"'))
        broker = ShippedBroker(own_directory)
        broker.init()
        broker.change(auth={"users_file": str(path)})
        with pytest.raises(BrokerDidNotStart) as told:
            broker.start()
        assert "in the users file and in the metadata at once: admin" in str(told.value)
        assert "exit code 3" in str(told.value)

    def test_users_of_a_file_are_enough(self, own_directory: Path, users_file: Path) -> None:
        broker = ShippedBroker(own_directory, extra={"auth": {"users_file": str(users_file)}})
        broker.admin = FRED  # nobody is stored with `rivven server init`
        with broker:
            assert logs_in(broker, FRED, "SCRAM-SHA-256")

    def test_plain_on_a_listener_without_tls(self, own_directory: Path) -> None:
        broker = ShippedBroker(own_directory, protocols=("sasl_plaintext",))
        broker.init()
        broker.change(auth={"mechanism": "plain"})
        with pytest.raises(BrokerDidNotStart, match="PLAIN sends the password itself"):
            broker.start()
