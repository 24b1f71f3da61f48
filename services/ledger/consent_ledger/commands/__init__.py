"""The commands of `consent-ledger`: each module adds its own to the parser and runs them."""
