"""Runs the tests of TLS with every other supported Python that this machine has: `make pythons`.

What OpenSSL refuses by default and what the `ssl` module checks differs between versions, so one version does
not stand for the others. Each gets a virtual environment of its own under `.venv/pythons`. Runs on the
machine's Python and uses the standard library only.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
# Where version managers keep interpreters that are not on the path.
ELSEWHERE = (
    os.path.join(os.environ.get("PYENV_ROOT", "~/.pyenv"), "versions/%d.%d.*/bin/python3"),
    "~/.local/share/uv/python/cpython-%d.%d*/bin/python3",
)
# By their names; client certificates and revocation are told by the TLS handshake too.
ABOUT = ("tls", "crl", "certificate", "authority", "x509")
PROBE = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"


def is_usable(python: str, version: tuple[int, int]) -> bool:
    """Whether it runs, is what its name says (a shim may not be), and can make environments."""
    try:
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == "%d.%d" % version


def find(version: tuple[int, int]) -> str | None:
    """The first interpreter of a version."""
    on_path = shutil.which("python%d.%d" % version)
    found = [] if on_path is None else [on_path]
    for pattern in ELSEWHERE:
        found += sorted(glob.glob(os.path.expanduser(pattern % version)), reverse=True)
    return next((one for one in found if is_usable(one, version)), None)


def tests() -> list[str]:
    """The files with tests of TLS, of every kind there is."""
    found = glob.glob("tests/**/test_*.py", root_dir=ROOT, recursive=True)
    return sorted(one for one in found if any(word in os.path.basename(one) for word in ABOUT))


def main() -> int:
    """0 if the tests pass with each Python there is; with none besides this one that is said, and 0."""
    outcomes: dict[str, str] = {}
    for version in SUPPORTED:
        name = "%d.%d" % version
        if version == sys.version_info[:2]:
            outcomes[name] = "make test runs with it"
            continue
        python = find(version)
        if python is None:
            outcomes[name] = "not on this machine"
            continue
        print(f"rivven: the tests of TLS with Python {name}", flush=True)
        command = [
            "make",
            "test",
            f"PYTHON={python}",
            f"VENV=.venv/pythons/{name}",
            f"TESTS={' '.join(tests())}",
        ]
        outcomes[name] = "FAILED" if subprocess.call(command, cwd=ROOT) else "passed"
    for name, outcome in outcomes.items():
        print(f"rivven: Python {name}: {outcome}")
    return int("FAILED" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
