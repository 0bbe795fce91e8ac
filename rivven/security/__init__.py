"""Security: who a peer is (`authn`), what it may do (`authz`), and how its bytes are protected (`tls`).

Everything here decides from values it is given; sockets, the accept loop and request dispatch live above.
"""
