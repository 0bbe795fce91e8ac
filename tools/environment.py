"""Makes the virtual environment that `make run` and `make test` use: nothing is installed by hand.

Runs on the machine's own Python, before anything is installed, so it uses the standard library only and must
not import the project. It installs exactly what the locks name (`--require-hashes`) and does nothing when
they have not changed since. Usage: `python3 tools/environment.py run|dev|bench`.
"""

from __future__ import print_function

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")

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


def pip(*arguments):
    """Run the environment's pip; returns its exit code."""
    command = [PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.call(command, cwd=ROOT)


def stamp_path(target):
    return os.path.join(VENV, ".rivven-%s" % target)


def is_current(target, wanted):
    try:
        with open(stamp_path(target)) as stream:
            return stream.read() == wanted
    except OSError:
        return False


def install(target):
    """Install one target's locks and the project itself (editable, no resolver, no build isolation)."""
    for name in REQUIRED[target]:
        if pip("install", "--require-hashes", "--no-deps", "-r", name):
            fail("installing %s failed; the lines above say why" % name)
    for name in OPTIONAL[target]:
        if pip("install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", name):
            sys.stderr.write("rivven: %s has no wheels here; what needs it skips with a reason\n" % name)
    if pip("install", "--no-deps", "--no-build-isolation", "--editable", "."):
        fail("installing the project into .venv failed; the lines above say why")


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in INCLUDES:
        fail("usage: python3 tools/environment.py run|dev|bench")
    target = arguments[0]
    wanted = digest(REQUIRED[target] + OPTIONAL[target])
    if os.path.exists(PYTHON) and is_current(target, wanted):
        return
    check_python()
    if not os.path.exists(PYTHON):
        print("rivven: making the virtual environment .venv", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", VENV]):
            fail("python3 -m venv failed; on Debian and Ubuntu `apt-get install python3-venv` brings it")
    print("rivven: installing what %s needs" % " and ".join(REQUIRED[target][1:]), flush=True)
    install(target)
    for included in INCLUDES[target]:
        with open(stamp_path(included), "w") as stream:
            stream.write(digest(REQUIRED[included] + OPTIONAL[included]))


if __name__ == "__main__":
    main(sys.argv[1:])
