"""ftpd: a file transfer server that never shows half a file."""

__version__ = "0.1.0"
