"""Rows of files and pipes: what they are read from, and what those that stay are written to.

Always as a stream: a block of rows is in memory, never the whole. Text (CSV, JSONL) that stays is written
byte for byte as it came; nothing in it is parsed but what decides. What leaves nothing half done looks
complete: `writing.Target`.
"""
