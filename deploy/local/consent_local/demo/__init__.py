"""`consent-local demo`: the main job as a story in ten steps, on a ledger of its own that ends with it."""
