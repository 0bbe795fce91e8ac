"""Shipped fakes and fixtures: what tests of Rivven, and of programs that use it, stand on.

Never used in production.
"""
