"""`ftpd`, and `python -m ftpd`."""

from ftpd.interrupts import end_at_once


def main() -> int:
    """Be the process. Returns the exit status."""
    end_at_once()
    from ftpd.cli import main as run  # noqa: PLC0415 (that takes long enough for a Ctrl-C)

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
