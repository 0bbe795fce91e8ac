"""The log on disk: segments, indexes, commit rounds, recovery, retention. It knows nothing of clients or
topics' names."""
