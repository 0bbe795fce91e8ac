"""`rivven cluster`: info."""

from __future__ import annotations

import click

from rivven_cli.output import output_option, show_one, show_rows
from rivven_cli.session import Session, pass_session


@click.group()
def cluster() -> None:
    """Show the cluster and its nodes."""


@cluster.command("info")
@output_option
@pass_session
def info(session: Session, output: str) -> None:
    """Show cluster id, controller and nodes."""
    from rivven_client.topics import cluster_info

    found = cluster_info(session.connection)
    nodes = [{"id": number, "address": address} for number, address in found.nodes]
    facts = {"cluster_id": found.cluster_id, "controller": found.controller}
    if output != "table":
        show_one(output, {**facts, "nodes": nodes})
        return
    show_one(output, facts)
    click.echo()
    show_rows(output, nodes, ("id", "address"))
