"""The rules of each command, a file per thing they are about; `consent_domain.handle` is the door."""
