"""Schemathesis against the Admin API of the shipped broker: whatever fits its document, and what does not.

No answer may be a 5xx or differ from the document; the broker must live on and log no traceback. The tool
runs as a process of its own. `make nightly` gives it longer.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.conformance.web import Web
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority, ClientFiles

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECONDS = min(int(os.environ.get("RIVVEN_FUZZ_SECONDS", "8")), 1_800)

EXCLUDED = {
    "positive_data_acceptance": "a name may fit its schema and still be of no role, topic or user",
    "ignored_auth": "conformance/test_admin_api.py does it for every route, without waiting for each refusal",
}


def broker_for(directory: Path, authority: ClientAuthority) -> ShippedBroker:
    """A broker whose fuzzer shows a certificate: it finds users in lists and takes their passwords away."""
    settings = {"connection.failed.authentication.delay.ms": 1}
    broker = ShippedBroker(directory, settings=settings)
    broker.change(
        admin={
            "bind": "127.0.0.1:0",
            "tls": {
                "cert_path": str(broker.pki.certificate),
                "key_path": str(broker.pki.key),
                "client_auth": "optional",
                "ca_path": str(authority.ca),
            },
        },
        auth={"mtls_mapping": {"type": "common_name"}},
    )
    return broker


def fuzz(
    broker: ShippedBroker, certificate: ClientFiles, directory: Path, seed: int, seconds: int
) -> subprocess.CompletedProcess[str]:
    command = [
        SCHEMATHESIS,
        "--no-color",
        "run",
        f"{broker.admin_url()}/openapi.json",
        *("--tls-verify", broker.pki.ca),
        *("--request-cert", certificate.certificate, "--request-cert-key", certificate.key),
        *("--exclude-checks", ",".join(EXCLUDED)),
        *("--phases", "coverage,fuzzing"),
        *("--max-time", str(seconds), "--max-response-time", "10", "--request-timeout", "20"),
        *("--seed", str(seed), "--generation-database", "none", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-shrink"),
    ]
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds * 2 + 60,
        check=False,
    )


@pytest.mark.timeout(3_700)
def test_every_answer_is_what_the_document_says(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    authority = ClientAuthority(tmp_path / "clients")
    certificate = authority.issue("fuzzer")
    with broker_for(tmp_path / "broker", authority) as broker:
        with Client(broker.connection()) as admin:
            for kind in (ResourceType.CLUSTER, ResourceType.USER, ResourceType.DELEGATION_TOKEN):
                name = "kafka-cluster" if kind is ResourceType.CLUSTER else "*"
                admin.allow("fuzzer", Operation.ALL, kind, name)
        done = fuzz(broker, certificate, tmp_path, seed, SECONDS)
        if "No test cases were generated" in done.stdout:  # a busy machine took that long to make the first
            done = fuzz(broker, certificate, tmp_path, seed, SECONDS + 60)
        assert done.returncode == 0, f"seed {seed}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
        assert "No issues found" in done.stdout, done.stdout[-3000:]
        web = Web(broker.admin_url(), broker.pki.ca).with_certificate(certificate)
        assert web.get("/v1/cluster").status == 200, "the fuzzer has locked itself out and tested nothing"
        assert broker.stop() == 0
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()
