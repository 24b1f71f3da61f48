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


class LogKeySettings(Settings, frozen=True, kw_only=True):
    """What the commands for the log's key need."""

    log_key_file: str = ""
    """`CONSENT_LOG_KEY_FILE`: the Ed25519 seed (32 bytes, mode 0600) that signs checkpoints. Without it, the
    seed itself is taken from `CONSENT_LOG_KEY` (base64; two, with a space between, while a key rotates)."""

    signer_state_file: str
    """`CONSENT_SIGNER_STATE_FILE`: the SQLite file in which the signer remembers what it signed; outside the
    database and its backups."""

    log_folder: str
    """`CONSENT_LOG_FOLDER`: where tiles and checkpoints are published, and served from; made if missing."""

    @property
    def log_key_path(self) -> Path | None:
        """The file of the log's key, None where the environment holds the key itself."""
        return Path(self.log_key_file) if self.log_key_file else None


class BackupSettings(Settings, frozen=True, kw_only=True):
    """What `backup` needs: `CONSENT_DATABASE_URL`, `CONSENT_ORIGIN`, and `CONSENT_LOG_FOLDER`."""

    log_folder: str


class RecoverySettings(LogKeySettings, frozen=True, kw_only=True):
    """What `recover` needs beside `CONSENT_NATS_URL`."""

    replica_folder: str = ""
    """`CONSENT_REPLICA_FOLDER`: where this host's replica is, which may know that more was recorded."""


class PublisherSettings(LogKeySettings, frozen=True, kw_only=True):
    """All that publishing needs. It reads no other key than the log's."""

    witness_policy_file: str = ""
    """`CONSENT_WITNESS_POLICY_FILE`: a C2SP tlog-policy with the addresses of the witnesses that are asked to
    cosign; without it nobody is."""

    metrics_port: int = 0
    """`CONSENT_METRICS_PORT`: where Prometheus finds the publisher's `/metrics`; 0: nowhere."""


class LedgerSettings(KeyFileSettings, frozen=True, kw_only=True):
    """All that serving needs."""

    log_folder: str
    """`CONSENT_LOG_FOLDER`: where the publisher's tiles and checkpoints are, which are served from it."""

    keystore_file: str
    """`CONSENT_KEYSTORE_FILE`: the SQLite file of personal keys, outside the database and its backups."""

    replica_folder: str
    """`CONSENT_REPLICA_FOLDER`: where this host's processes share their replica; made if it is not there."""

    snapshot_folder: str = ""
    """`CONSENT_SNAPSHOT_FOLDER`: where snapshots for gates are kept, the two newest; made if it is not there.
    Without it, beside the replica's folder, with `-snapshots` behind its name."""

    snapshot_minutes: int = 10
    """`CONSENT_SNAPSHOT_MINUTES`: how old the newest snapshot may be and still be answered with."""

    max_staleness_ms: int = 5_000
    """`CONSENT_MAX_STALENESS_MS`: how old a replica may be and still permit, unless a check asks for less."""

    database_connections_max: int = 8
    """`CONSENT_DATABASE_CONNECTIONS_MAX`: connections to PostgreSQL of each worker process."""

    @property
    def snapshots_path(self) -> Path:
        """The folder of snapshots."""
        return Path(self.snapshot_folder or f"{self.replica_folder.rstrip('/')}-snapshots")
