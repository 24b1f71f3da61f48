"""Damage and loss: finding it, and putting back what can be had.

- `examination`: the events, each by itself and all together, in one pass and bounded memory
- `claims`: what was ever signed of them; `tile_check`: the published tiles
- `fsck`, `backup`, `restore`, `importing`, `recover`: what the commands of these names do
- `insertion`: events put into the ledger byte for byte, as they once were
- `sources`: where events above a restored head may still be

Rules: (1) Nothing is committed before all of it was checked. (2) An event is put back byte for byte or
not at all. (3) Whatever puts events back halts the log: only a clean `fsck --clear` lets it go on.
"""
