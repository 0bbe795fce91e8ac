"""`rivven keys reencrypt --follow`: the progress of a re-encryption until it is finished."""

from __future__ import annotations

import time
from typing import Any

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import done
from rivven_cli.session import Session

POLL_SECONDS = 0.5


def follow_reencryption(session: Session, topic: str, output: str) -> int:
    """Ask until it is finished; a bar on a terminal, at the end one line or the facts."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=output != "table" or not console.is_terminal) as bar:
        task = bar.add_task(topic, total=None)
        while True:
            found = _progress(session, topic)
            total = found["done_bytes"] + found["left_bytes"]
            bar.update(task, total=total or 1, completed=found["done_bytes"] if total else 1)
            if found["finished"]:
                break
            if found["problem"]:
                bar.console.print(found["problem"], markup=False)
            time.sleep(POLL_SECONDS)
    done(output, f"{topic}: everything is under the newest topic key", found)
    return Exit.OK


def _progress(session: Session, topic: str) -> dict[str, Any]:
    from rivven_client.admin import path

    for one in session.admin.listing(path("keys", "reencryption")):
        if one["topic"] == topic:
            found: dict[str, Any] = one
            return found
    raise CommandFailed(f"{topic} is not being re-encrypted any more", "was it deleted?", Exit.NOT_FOUND)
