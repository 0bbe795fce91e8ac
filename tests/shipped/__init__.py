"""The shipped broker as tests meet it: the installed `rivven` command, real files, real sockets.

Nothing here imports the broker; it knows the command line, the configuration file and the ready file only.
"""
