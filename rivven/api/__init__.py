"""Handlers: one coroutine per API that translates a request into calls and their results into a response.

Authorisation, decoding and the last-resort error belong to `dispatch`; a handler holds no business rules.
"""
