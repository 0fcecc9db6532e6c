"""`python -m ftpd`."""

from ftpd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
