"""Cluster metadata: topics, credentials, ACLs, broker settings and producer id blocks, as one journaled
machine.
"""
