"""Makes the virtual environment that `make run` and `make test` use: nothing is installed by hand.

Runs on the machine's own Python, before anything is installed, so it uses the standard library only and must
not import the project. It installs exactly what the locks name (`--require-hashes`) and does nothing when
they have not changed since. Usage: `python3 tools/environment.py run|dev|bench [DIRECTORY]`,
the directory being `.venv` in the project.
"""

from __future__ import print_function

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Lock files that must install, in order; the first list is what a user of the broker gets.
REQUIRED = {
    "run": ["requirements-build.lock", "requirements.lock"],
    "dev": ["requirements-build.lock", "requirements-dev.lock"],
    "bench": ["requirements-build.lock", "requirements-dev.lock"],
}
# Lock files of optional suites: without a wheel for this Python or platform the suite skips and says so.
OPTIONAL = {
    "run": [],
    "dev": ["requirements-oracle.lock", "requirements-fuzz.lock"],
    "bench": ["requirements-oracle.lock", "requirements-fuzz.lock", "requirements-peer.lock"],
}
# Each set includes the ones after it: a development environment can run the broker.
INCLUDES = {
    "run": ["run"],
    "dev": ["run", "dev"],
    "bench": ["run", "dev", "bench"],
}


def fail(line):
    """Print one line and leave: the reader needs the remedy, not a traceback."""
    sys.stderr.write("rivven: %s\n" % line)
    raise SystemExit(2)


def check_python():
    """The two things a machine can lack, each with the package that brings it."""
    if sys.version_info < (3, 11):
        fail(
            "Python 3.11 or newer is needed, this is %d.%d; name another with `make PYTHON=python3.12 ...`"
            % sys.version_info[:2]
        )
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            fail(
                "this Python has no %s module; on Debian and Ubuntu install it with "
                "`apt-get install python3-venv`" % module
            )


def digest(names):
    """What the installed state depends on: the locks, the project's metadata and this file."""
    hashed = hashlib.sha256(sys.version.encode())
    for name in [*names, "pyproject.toml", "tools/environment.py"]:
        with open(os.path.join(ROOT, name), "rb") as stream:
            hashed.update(stream.read())
    return hashed.hexdigest()


class Environment(object):
    """A virtual environment, and the state it was left in by an earlier run."""

    def __init__(self, directory):
        self.directory = directory
        self.python = os.path.join(directory, "bin", "python")

    def exists(self):
        return os.path.exists(self.python)

    def make(self):
        print("rivven: making the virtual environment %s" % os.path.relpath(self.directory, ROOT), flush=True)
        if subprocess.call([sys.executable, "-m", "venv", self.directory]):
            fail("python3 -m venv failed; on Debian and Ubuntu `apt-get install python3-venv` brings it")

    def is_current(self, target, wanted):
        try:
            with open(self._stamp_path(target)) as stream:
                return stream.read() == wanted
        except OSError:
            return False

    def stamp(self, target, state):
        with open(self._stamp_path(target), "w") as stream:
            stream.write(state)

    def install(self, target):
        """Install one target's locks and the project itself (editable, no resolver, no build isolation)."""
        for name in REQUIRED[target]:
            if self._pip("--require-hashes", "--no-deps", "-r", name):
                fail("installing %s failed; the lines above say why" % name)
        for name in OPTIONAL[target]:
            if self._pip("--require-hashes", "--no-deps", "--only-binary=:all:", "-r", name):
                sys.stderr.write("rivven: %s has no wheels here; what needs it skips with a reason\n" % name)
        if self._pip("--no-deps", "--no-build-isolation", "--editable", "."):
            fail("installing the project into %s failed; the lines above say why" % self.directory)

    def _pip(self, *arguments):
        """Run the environment's `pip install`; returns its exit code."""
        command = [
            self.python,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "install",
        ]
        return subprocess.call(command + list(arguments), cwd=ROOT)

    def _stamp_path(self, target):
        return os.path.join(self.directory, ".rivven-%s" % target)


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0] not in INCLUDES:
        fail("usage: python3 tools/environment.py run|dev|bench [DIRECTORY]")
    target = arguments[0]
    environment = Environment(os.path.join(ROOT, *(arguments[1:] or [".venv"])))
    wanted = digest(REQUIRED[target] + OPTIONAL[target])
    if environment.exists() and environment.is_current(target, wanted):
        return
    check_python()
    if not environment.exists():
        environment.make()
    print("rivven: installing what %s needs" % " and ".join(REQUIRED[target][1:]), flush=True)
    environment.install(target)
    for included in INCLUDES[target]:
        environment.stamp(included, digest(REQUIRED[included] + OPTIONAL[included]))


if __name__ == "__main__":
    main(sys.argv[1:])
