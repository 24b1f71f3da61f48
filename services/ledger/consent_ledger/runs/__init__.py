"""Runs that used data: manifests verified against the log, whose data they used, and what became due."""
