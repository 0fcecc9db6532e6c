"""A store in a local folder."""

from ftpd.store.local.store import PARTIAL_TTL_S, LocalStore

__all__ = ["PARTIAL_TTL_S", "LocalStore"]
