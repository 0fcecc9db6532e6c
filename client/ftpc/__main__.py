"""`ftpc`, and `python -m ftpc`."""

from ftpd.interrupts import end_at_once


def main() -> int:
    """Be the process. Returns the exit status."""
    end_at_once()
    from ftpc.cli import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
