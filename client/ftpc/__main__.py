"""`python -m ftpc`."""

from ftpc.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
