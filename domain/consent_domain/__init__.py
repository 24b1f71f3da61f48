"""The rules of consent: events, policies, standing, decisions, Merkle tree. Pure: no clock, no I/O."""
