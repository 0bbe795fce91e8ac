"""Authentication: a peer's tokens in, an identity or a refusal out. Pure; time and entropy are parameters."""
