"""Partitions as clients see them: a log plus its high watermark and those who wait for it.

One replica per partition for now; the leader/ISR protocol will live here beside it.
"""
