"""Sockets: listeners accept, connections move bytes between a socket and the sans-IO protocol core.

Drivers only: what a request means is decided in `api`.
"""
