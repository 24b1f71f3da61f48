"""PostgreSQL and NATS on one host, from wheels, as child processes on loopback."""
