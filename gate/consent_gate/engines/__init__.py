"""Filters for the engines that data lies in: each with the idiom of its users, all with one meaning.

A row stays if and only if all workspaces that own it permit its use: an allow list, never a deny list,
as of one position and ledger time for the whole job. `consent_gate.engines.job` is where to begin.
"""
