"""A store in a local folder."""

from ftpd.store.local.store import LocalStore

__all__ = ["LocalStore"]
