"""Checking a log from outside: with its verifier key and nothing else that the vendor says.

- `sources`: where the files of a log or of an export are: a folder, an archive, an address
- `trust`: which keys and witnesses a checkpoint must have
- `trees`: tiles and entries, believed only as far as a checkpoint's root proves them
- `rules`: what every event must be by itself, and beside the one before
- `manifests`: what an export consists of
- `verify`, `export`, `replay`: what the commands of these names do
"""
