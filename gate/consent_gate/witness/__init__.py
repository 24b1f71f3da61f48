"""A witness: it cosigns checkpoints of logs that only ever grow, and remembers what it cosigned.

- `rules`: what a request must be, and what is answered to it (C2SP tlog-witness); without I/O
- `state`: what was cosigned, in a file
- `witness`: rules, state and key together
- `application`: HTTP
- `server`: the process
"""
