"""Policy as code: Cedar policies from a directory as an `Authorizer`.

`vocabulary` and `statements` and `expressions` are pure, `policies` reads a directory into a `PolicyBook`,
`linter` judges it, `evaluation` asks the Cedar engine, `engine` is the authorizer, `store` follows the
directory. Only `binding` touches the optional package.
"""
