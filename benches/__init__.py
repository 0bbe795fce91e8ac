"""Measurements of the shipped broker beside two others; see `benches/RESULTS.md`. Nothing here is shipped."""
