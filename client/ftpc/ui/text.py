"""Numbers and names as people read them."""

import unicodedata

from ftpd.amounts import size_text


def seconds_text(seconds: float) -> str:
    """Write a duration: `0.4 s`, `59 s`, `2:05`, `1:02:05`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate_text(size: float, seconds: float) -> str:
    """Write a rate; of next to no time, nothing can be said."""
    return f"{size_text(size / seconds)}/s" if seconds > 0 else "-"


def safe_text(text: str) -> str:
    """Escape what could move a cursor, change a colour or turn the line around: a name may come from anybody."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()
        for char in text.encode("utf-8", "backslashreplace").decode()
    )


def count_text(count: int, what: str) -> str:
    """Write a number of things: `1 file`, `2 files`, `5,003 files`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
