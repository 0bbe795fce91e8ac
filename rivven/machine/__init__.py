"""Machines: pure decisions, journaled events, and the one runner that connects them to time and disk.

Nothing here knows what any particular machine decides.
"""
