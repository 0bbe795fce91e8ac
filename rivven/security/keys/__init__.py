"""Keys: providers of key encryption keys, the key store, topic keys, and what is derived from them."""
