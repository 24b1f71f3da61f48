"""What every service needs to run: PostgreSQL, named SQL, migrations, NATS, settings, logs, signals."""
