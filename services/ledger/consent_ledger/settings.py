"""What the ledger's processes read from the environment, beside what every process reads. Files are paths."""

from __future__ import annotations

from pathlib import Path

from consent_plumbing.settings import Settings


class ToolSettings(Settings, frozen=True, kw_only=True):
    """What `migrate` and the API keys need: `CONSENT_DATABASE_URL`."""


class KeyFileSettings(Settings, frozen=True, kw_only=True):
    """`CONSENT_DATABASE_URL`, `CONSENT_NATS_URL`, `CONSENT_ORIGIN`, `CONSENT_LOG_LEVEL`, and these."""

    feed_key_file: str
    """`CONSENT_FEED_KEY_FILE`: the Ed25519 seed (32 bytes, mode 0600) that signs watermarks and the feed."""

    master_key_file: str = ""
    """`CONSENT_MASTER_KEY_FILE`: the key (32 bytes, mode 0600) under which personal keys are wrapped.
    Without it, the key itself is taken from `CONSENT_MASTER_KEY` (base64)."""

    @property
    def master_key_path(self) -> Path | None:
        """The file of the master key, None where the environment holds the key itself."""
        return Path(self.master_key_file) if self.master_key_file else None


class LedgerSettings(KeyFileSettings, frozen=True, kw_only=True):
    """All that serving needs."""

    keystore_file: str
    """`CONSENT_KEYSTORE_FILE`: the SQLite file of personal keys, outside the database and its backups."""

    replica_folder: str
    """`CONSENT_REPLICA_FOLDER`: where this host's processes share their replica; made if it is not there."""

    max_staleness_ms: int = 5_000
    """`CONSENT_MAX_STALENESS_MS`: how old a replica may be and still permit, unless a check asks for less."""

    database_connections_max: int = 8
    """`CONSENT_DATABASE_CONNECTIONS_MAX`: connections to PostgreSQL of each worker process."""
