"""The log as files: tiles and checkpoints, who signs them, and the witnesses that cosign them."""
