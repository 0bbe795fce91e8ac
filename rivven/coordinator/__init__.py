"""Consumer groups and committed offsets: one pure machine per partition of `__consumer_offsets`.

`groups` is the machine, `journal` keeps its events in the partition's log, `service` finds the machine of a
group.
"""
