"""Calls that belong to one place: each rule names the place, and every exception has its reason."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch

import pytest

from tests.architecture.source import Module, modules


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` (a whole dotted name) may only be used in `allowed`: module patterns with their reasons."""

    name: str
    pattern: str
    why: str
    allowed: dict[str, str] = field(default_factory=dict)
    within: str = "*"

    def broken_by(self, module: Module) -> list[str]:
        if not fnmatch(module.name, self.within) or self.allows(module.name):
            return []
        expression = re.compile(self.pattern)
        return [f"{module.path}:{line} {name}" for line, name in module.uses() if expression.fullmatch(name)]

    def allows(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.allowed)


RULES = (
    Rule(
        "tasks",
        r".*\.(create_task|ensure_future)",
        "a task nobody holds is collected by the garbage collector and loses its error: Tasks.spawn",
        {"rivven.tasks": "is the place"},
        within="rivven*",
    ),
    Rule(
        "wait_for",
        r"asyncio\.wait_for",
        "in Python 3.11 it loses a cancellation that comes with what it waited for: asyncio.timeout",
        {},
        within="rivven*",
    ),
    Rule(
        "clock",
        r"time\.(time|time_ns|monotonic|monotonic_ns|sleep)|datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today",
        "time comes from a Clock, so that tests own it",
        {
            "rivven.clock": "is the place",
            "rivven.telemetry.stalls": "its thread measures the loop itself",
            "rivven_cli.*": "a process of seconds, driven by its user",
            "rivven_client.*": "deadlines of librdkafka calls",
        },
    ),
    Rule(
        "entropy",
        r"random(\..*)?|secrets(\..*)?|os\.urandom|uuid\.uuid[14]",
        "entropy is passed in, so that tests repeat and security has one source",
        {
            "rivven.app.*": "the composition root hands os.urandom out",
            "rivven.log.directory": "default of the ids of a new directory",
            "rivven.log.sealing": "nonces: one that repeats would open what is sealed",
            "rivven.machine.journal_sealing": "keys and nonces, as there",
            "rivven.security.keys.keyring_file": "KEKs and nonces, made where a provider is made by its name",
            "rivven.log.compactor": "names of temporary files and the key of the key map, no decision",
            "rivven.api.groups": "member ids, which only have to be new",
            "rivven.testing.*": "seeded simulations",
            "rivven_cli.*": "generated passwords and salts",
            "rivven_client.*": "salts of verifiers",
        },
    ),
    Rule(
        "files of the log",
        r"open|os\.(open|pread|preadv|pwrite|pwritev|read|write|fsync|fdatasync|sync|rename|replace|unlink|remove|rmdir|"
        r"mkdir|makedirs|listdir|scandir|stat|fstat|truncate|ftruncate|statvfs|link|path\..*)|pathlib\.Path|shutil\..*",
        "everything the log does to a disk goes through Files, so that tests can lose power",
        {"rivven.log.files": "is the place"},
        within="rivven.log*",
    ),
    Rule(
        "files of machines",
        r"open|os\.(open|fsync|fdatasync|rename|replace|unlink|write|read)|pathlib\.Path",
        "journals write through Files as the log does",
        within="rivven.ma*",
    ),
    Rule(
        "standard output",
        r"print|sys\.(stdout|stderr|stdin)(\..*)?|input",
        "a server speaks through logging; the command line through click",
        {
            "rivven.app.serve": "the ready line, the first start and the reason of a refused start",
            "rivven.telemetry.logs": "where logs go",
            "rivven.log.worker": "the pipe to its parent",
            "rivven_cli.*": "speaking is its task",
        },
    ),
    Rule(
        "threads",
        r"threading\.(Thread|Timer)|concurrent\.futures\.\w*Executor|.*\.run_in_executor|asyncio\.to_thread",
        "the broker is one thread and few I/O threads, each with a bounded queue",
        {
            "rivven.log.threads": "the I/O threads",
            "rivven.log.worker": "watches for the end of its parent",
            "rivven.log.compactor": "waits for the files of a swap",
            "rivven.api.tokens": "the hashes of a new token's secret, one token at a time",
            "rivven.telemetry.*": "writes logs and watches the loop, which must not do it itself",
            "rivven.app.encryption": "key stores and providers at start",
            "rivven.app.serve": "ends a stop that takes too long, when it may be the loop that hangs",
            "rivven.app.storage": "statvfs may hang with the disk",
            "rivven.app.shadow": "parses a candidate's rules, which must not delay an answer",
            "rivven.app.audit_signing": "a key file and public keys, one call of an operator at a time",
            "rivven.app.key_operations": "the key store's files, for one operation of an operator at a time",
            "rivven.app.topic_shredding": "the key store's files, for one erasure at a time",
            "rivven.app.secret_rotation": "the file of a secret, one at a time",
            "rivven.app.erasure_completion": "the same, and the provider, for one look at a time",
            "rivven.app.topic_erasure": "lists a directory, as above",
            "rivven.security.keys.keks": "the provider and the key store's files, as above",
            "rivven.security.keys.shredding": "as above",
            "rivven.security.keys.vault_session": "a thread that keeps a token alive, mostly asleep",
            "rivven.app.tls_material": "reads files that may be on a slow file system, and checks signatures",
            "rivven.app.tls_expiry": "the same",
            "rivven.app.users_file": "parses a file that may hold thousands of users",
            "rivven.security.authn.verification": "key derivations, on two threads with a bounded line",
            "rivven.http.metrics_server": "imports uvicorn without holding the loop",
            "rivven.http.admin.server": "imports FastAPI without holding the loop",
            "rivven.security.authn.oidc_fetch": "imports httpx and reads authorities beside the loop",
            "rivven.file_events": "waits for the system, one for all watched files",
            "rivven.watched_files": "reads files, which may be on a slow file system",
            "rivven.security.authz.cedar.store": "parsing a thousand policies takes a tenth of a second",
        },
    ),
    Rule(
        "processes",
        r"subprocess\..*|multiprocessing\..*|os\.(fork|system|popen|exec\w*|spawn\w*|posix_spawn\w*)|"
        r"asyncio\.create_subprocess_\w+",
        "work on records runs in worker processes; nothing else starts programs",
        {"rivven.log.workers": "is the place"},
    ),
    Rule(
        "code from text",
        r"eval|exec|compile|__import__|pickle\..*|marshal\..*|yaml\.(load|unsafe_load|full_load)|.*\.loads_unsafe",
        "nothing that came over a socket or from a file becomes code",
        {
            "rivven.config.strict_yaml": "its loader is PyYAML's safe one, made stricter",
            "rivven.log.worker_jobs": "marshal carries plain values between the broker and its own worker",
            "rivven.protocol.schema": "builds structs from our own declarations",
            "rivven.protocol.source": "compiles parse and write functions from our own declarations",
        },
    ),
    Rule(
        "trust",
        r"ssl\.(CERT_NONE|_create_unverified_context|_create_default_https_context)|hashlib\.(md5|sha1)",
        "peers are verified and digests are strong",
        {"rivven.security.tls": "client_auth: none is a server that does not ask for certificates"},
    ),
    Rule(
        "TLS contexts",
        r"ssl\.(PROTOCOL_TLS\w*|create_default_context|_create_stdlib_context)",
        "one place decides about versions, suites and verification",
        {
            "rivven.security.tls": "is the place",
            "rivven.security.tls_files": "a parser of certificates, for no connection",
            "rivven.security.tls_verification": "asks OpenSSL what a client would say, for no connection",
            "rivven_client.*": "a client is not the broker",
        },
    ),
    Rule(
        "configuration",
        r"os\.(environ|getenv)(\..*)?",
        "the environment is read once, by the configuration",
        {
            "rivven.config.*": "is the place",
            "rivven.log.workers": "the environment of its child",
            "rivven_cli.*": "profiles and overrides",
            "rivven_client.profile": "secrets as env:NAME",
        },
    ),
    Rule(
        "logging set-up",
        r"logging\.(basicConfig|disable|captureWarnings|root|info|warning|error|debug|exception)",
        "loggers are configured once, by telemetry; nobody logs to the root",
    ),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_calls_stay_in_their_place(rule: Rule) -> None:
    broken = [found for module in modules() for found in rule.broken_by(module)]
    assert not broken, f"{rule.why}\n" + "\n".join(broken)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_exceptions_are_still_needed(rule: Rule) -> None:
    strict = Rule(rule.name, rule.pattern, rule.why, {}, rule.within)
    for pattern, reason in rule.allowed.items():
        users = [m for m in modules() if fnmatch(m.name, pattern) and strict.broken_by(m)]
        assert users, f"nothing in {pattern} needs the exception any more: {reason}"


# Only dispatch turns the unexpected into an answer. Elsewhere a broad clause cleans up and raises again, or
# is the outermost frame of a thread, task or process, where an error would otherwise vanish.
BROAD_CLAUSES = {
    "rivven.api.dispatch": "turns the unexpected into the API's own error",
    "rivven.audit.sinks": "whatever a sink raises is that sink's failure, not its thread's",
    "rivven.http.admin.guard": "turns the unexpected into a problem document, as dispatch does",
    "rivven.api.throttling": "hands every error on to the coroutine it measures",
    "rivven.file_events": "whatever ends the events, files are polled instead",
    "rivven.log.committer": "a job's failure is the job's, not the thread's",
    "rivven.log.threads": "the outermost frame of an I/O thread",
    "rivven.log.waiting": "hands the error to who waits for it",
    "rivven.log.worker": "the outermost frame of a worker process",
    "rivven.security.authn.jwks": "a fetch that failed in whatever way must not end the refreshing of keys",
    "rivven.security.keys.loader": "what an installed provider raises may hold secrets in its text",
    "rivven.security.keys.observed_provider": "whatever a provider raises is that provider's failure",
    "rivven.security.authz.chain": "an engine, ours or theirs, that fails has denied",
    "rivven.server.connection": "the outermost frame of a connection: it closes, the others live",
    "rivven.watched_files": "a change that cannot be taken over must not end the watch",
    "rivven.telemetry.logs": "a log line that cannot be formatted must not take the writer down",
}


def broad_clauses(module: Module) -> list[ast.ExceptHandler]:
    """Clauses that catch everything and do not end in a bare `raise`."""
    return [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]


def test_only_outermost_frames_catch_everything() -> None:
    found = {module.name for module in modules() if broad_clauses(module)}
    assert found == set(BROAD_CLAUSES)


def test_no_global_is_rebound() -> None:
    """State lives in objects that the composition root builds."""
    for module in modules():
        for node in ast.walk(module.tree):
            assert not isinstance(node, ast.Global), f"{module.path}:{node.lineno}"


def test_an_import_under_another_name_is_seen() -> None:
    tree = ast.parse("from os import urandom as r\nimport time as t\nr(3); t.time()\n")
    names = {name for _, name in Module("x", "x.py", "", tree).uses()}
    assert {"os.urandom", "time.time"} <= names
