"""The sub-commands of `consent`, a file each; `consent_gate.cli` reads their arguments."""
