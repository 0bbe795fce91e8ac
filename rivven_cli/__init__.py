"""The `rivven` command: one module per noun, everything loaded when it is used.

It talks to brokers through rivven_client; the broker package is imported only for `server`, and for the
offline tools `log`, `config`, `auth` and the password rules of `user create`.
"""
