"""The composition root: builds every object from the configuration, starts and stops them in order."""
