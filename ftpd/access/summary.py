"""A user in one line, for `ftpd user list`."""

from ftpd.access.users import Users


def summary(users: Users, name: str) -> str:
    """Say who a user is, how he logs in, and which limits he has."""
    user = users.users[name]
    valid = [token for token in users.tokens.values() if token.user == name and not token.is_expired]
    shares = sum(token.share for token in valid)
    how = [
        *(["password"] if user.password else []),
        *_counted(len(user.keys), "key"),
        *_counted(len(valid) - shares, "token"),
    ]
    parts = [
        ", ".join(how) or "can not log in",
        *_counted(shares, "share"),
        *([f"quota {user.quota}"] if user.quota else []),
        *([f"quota {user.quota_files} files"] if user.quota_files else []),
        *([f"rate {user.rate}"] if user.rate else []),
        *([f"connections {user.connections}"] if user.connections else []),
    ]
    return f"{name:16} /{user.home:15} {','.join(user.rights) or 'no rights':24} {'; '.join(parts)}"


def _counted(number: int, what: str) -> list[str]:
    return [f"{number} {what}{'s' if number > 1 else ''}"] if number else []
