"""Authorisation: rules in, decisions out, synchronously and from local state only."""
