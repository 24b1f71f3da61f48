"""The HTTP API: one table of operations, the Litestar application, and the dispatcher in front of it."""
