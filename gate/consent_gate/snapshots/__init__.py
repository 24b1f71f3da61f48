"""Snapshots: all facts of a ledger as of one position, as a sorted Parquet file, and a note that vouches.

    facts.parquet         rows that any engine reads (`layout`), in the order of ids as bytes
    facts.parquet.note    a C2SP signed note by the feed's key: whose facts, as of when, the file's SHA-256

A file that is not in every byte and every value what its note says is refused whole.
"""
