"""`ftpd user` and `ftpd token`: the file of users, from the command line. A server that has users follows at once."""

import argparse
import datetime as dt
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ftpd.access.credentials import hash_password, new_token
from ftpd.access.keys import check_key, parse_key
from ftpd.access.rights import PRESETS, parse_rights
from ftpd.access.summary import summary
from ftpd.access.users import USER_NAME, Token, User, Users, UsersError, edit, load
from ftpd.amounts import parse_amount, parse_time
from ftpd.arguments import EXIT_USAGE, Parser
from ftpd.config import Config
from ftpd.entrance import USERS
from ftpd.prompts import ask_key, ask_password
from ftpd.wire.errors import FtpdError
from ftpd.wire.paths import STATE_FOLDER, RemotePath

EXIT_OTHER = 1

_EXAMPLES = """\
examples:
  ftpd user add build                          build may do everything in the served folder
  ftpd user add bob --home bob --rights read-only
  ftpd user add scanner --home inbox --rights upload-only
  ftpd user set scanner --quota 10G --quota-files 1000
  ftpd user passwd build                       asks for a password, or reads it from standard input
  ftpd user key add build < id_ed25519.pub     build logs in with a key of SSH
  ftpd token create build --expires 30d        prints a token, once
  ftpd token list
  ftpd token revoke 0a1b2c3d4e
"""


def manage(argv: Sequence[str]) -> int:
    """Run one command. Returns the exit status."""
    parser = _parser()
    parser.refuse_unknown(argv)
    args = parser.parse_args(argv)
    action: Callable[[argparse.Namespace, Path], None] = args.action
    file = (args.access or args.root / STATE_FOLDER / "access") / USERS
    try:
        if args.access is None and not args.root.is_dir():
            raise UsersError(f"--root {args.root}: there is no such folder")
        if args.access is None:
            (args.root / STATE_FOLDER).mkdir(mode=0o700, exist_ok=True)
        action(args, file)
    except (UsersError, OSError) as exc:
        print(f"ftpd: {exc}", file=sys.stderr)
        return EXIT_OTHER
    except EOFError:
        print("\nftpd: nothing was given, so nothing was changed", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _add_user(args: argparse.Namespace, file: Path) -> None:
    is_first = not file.exists()
    with edit(file) as users:
        if args.name in users.users:
            raise UsersError(f"there is a user {args.name} already; {_line(args, 'user rm', args.name)} removes it")
        users.users[args.name] = User(
            rights=args.rights,
            home=args.home,
            quota=args.quota or "",
            quota_files=args.quota_files or 0,
            rate=args.rate or "",
            connections=args.connections or 0,
        )
    print(f"{args.name} can log in once it has a token ({_line(args, 'token create', args.name)}) or a password "
          f"({_line(args, 'user passwd', args.name)})")  # fmt: skip
    if is_first:
        print("a server of this folder that runs already goes on letting everybody in until it is started again")


def _change_user(args: argparse.Namespace, file: Path) -> None:
    with edit(file) as users:
        user = _find(users, args.name, args)
        for field in ("rights", "home", "quota", "quota_files", "rate", "connections"):
            value = getattr(args, field)
            if value is not None:
                setattr(user, field, value)
        line = summary(users, args.name)
    print(line)


def _list_users(args: argparse.Namespace, file: Path) -> None:
    del args
    users = load(file)
    for name in sorted(users.users):
        print(summary(users, name))


def _remove_user(args: argparse.Namespace, file: Path) -> None:
    with edit(file) as users:
        if users.users.pop(args.name, None) is None:
            raise UsersError(f"there is no user {args.name}; see {_line(args, 'user list')}")
        for name in [name for name, token in users.tokens.items() if token.user == args.name]:
            del users.tokens[name]


def _set_password(args: argparse.Namespace, file: Path) -> None:
    _find(load(file), args.name, args)
    try:
        password = hash_password(ask_password(args.name))  # nobody else can change the file in the block below
    except ValueError as exc:
        raise UsersError(str(exc)) from exc
    with edit(file) as users:
        _find(users, args.name, args).password = password
    print(f"the password of {args.name} was changed")


def _add_key(args: argparse.Namespace, file: Path) -> None:
    _find(load(file), args.name, args)
    try:
        key = parse_key(ask_key(args.name))
        check_key(key)
    except ValueError as exc:
        raise UsersError(f"standard input: {exc}") from exc
    with edit(file) as users:
        user = _find(users, args.name, args)
        if key[:2] not in [parse_key(known)[:2] for known in user.keys]:
            user.keys.append(str(key))
    print(f"{args.name} can log in with {key.fingerprint}: ftpc login URL --user {args.name} --key FILE")


def _list_keys(args: argparse.Namespace, file: Path) -> None:
    for key in map(parse_key, _find(load(file), args.name, args).keys):
        print(f"{key.fingerprint}  {key.kind}  {key.comment}".rstrip())


def _remove_key(args: argparse.Namespace, file: Path) -> None:
    with edit(file) as users:
        user = _find(users, args.name, args)
        rest = [line for line in user.keys if parse_key(line).fingerprint != args.fingerprint]
        if len(rest) == len(user.keys):
            see = _line(args, "user key list", args.name)
            raise UsersError(f"{args.name} has no key {args.fingerprint}; see {see}")
        user.keys = rest


def _create_token(args: argparse.Namespace, file: Path) -> None:
    token = new_token()
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with edit(file) as users:
        _find(users, args.name, args)
        users.tokens[token.id] = Token(
            user=args.name,
            sha256=token.sha256,
            label=args.label,
            created=now,
            expires=now + args.expires if args.expires else None,
            rights=args.rights,
            path=args.path,
        )
    print(token.text)


def _list_tokens(args: argparse.Namespace, file: Path) -> None:
    del args
    for name, token in sorted(load(file).tokens.items(), key=lambda item: item[1].user):
        until = (
            "expired" if token.is_expired else f"until {token.expires:%Y-%m-%d %H:%M}Z" if token.expires else "for ever"
        )
        scope = f"/{token.path} {','.join(token.rights) if token.rights is not None else 'all rights of the user'}"
        shared = "  share" if token.share else ""
        left = f", {token.count - len(token.used)} of {token.count} log-ins left" if token.count is not None else ""
        print(f"{name}  {token.user:16} {until:24} {scope}{shared}{left}  {token.label}")


def _revoke_token(args: argparse.Namespace, file: Path) -> None:
    with edit(file) as users:
        if users.tokens.pop(args.id, None) is None:
            raise UsersError(f"there is no token {args.id}; see {_line(args, 'token list')}")
        for name in [name for name, token in users.tokens.items() if token.maker == args.id]:
            del users.tokens[name]


def _find(users: Users, name: str, args: argparse.Namespace) -> User:
    if name not in users.users:
        raise UsersError(f"there is no user {name}; make it first: {_line(args, 'user add', name)}")
    return users.users[name]


def _line(args: argparse.Namespace, command: str, *words: str) -> str:
    """Write a command for the same file of users, as it can be typed."""
    place = ["--root", str(args.root)] if args.root != _default_root() else []
    place += ["--access", str(args.access)] if args.access != _default_access() else []
    return shlex.join(["ftpd", *command.split(), *words, *place])


def _parser() -> Parser:
    parser = Parser(
        prog="ftpd", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    kinds = parser.add_subparsers(required=True, metavar="user|token")
    user = kinds.add_parser("user", help="who may come in", epilog=_EXAMPLES, formatter_class=parser.formatter_class)
    token = kinds.add_parser("token", help="what they show", epilog=_EXAMPLES, formatter_class=parser.formatter_class)
    users = user.add_subparsers(required=True, metavar="add|set|list|rm|passwd|key")
    key = users.add_parser("key", help="keys of SSH", epilog=_EXAMPLES, formatter_class=parser.formatter_class)
    keys = key.add_subparsers(required=True, metavar="add|list|rm")
    tokens = token.add_subparsers(required=True, metavar="create|list|revoke")

    add = _command(users, "add", "make a user", _add_user, "name")
    add.add_argument("--home", type=_path, default="", metavar="DIR", help=_HOME_HELP)
    add.add_argument("--rights", type=_rights, default=["full"], metavar="WORDS", help=_RIGHTS_HELP)
    change = _command(users, "set", "change a user", _change_user, "name")
    change.add_argument("--home", type=_path, metavar="DIR", help="as for add")
    change.add_argument("--rights", type=_rights, metavar="WORDS", help="as for add")
    for kind in (add, change):
        kind.add_argument(
            "--quota", type=_amount, metavar="SIZE", help="bytes beneath the home, as in 500M or 10Gi; 0: no limit"
        )
        kind.add_argument("--rate", type=_amount, metavar="RATE", help="bytes in a second, each way; 0: no limit")
        kind.add_argument("--connections", type=_count, metavar="N", help="how many at a time; 0: no limit")
        kind.add_argument("--quota-files", type=_count, metavar="N", help="files beneath the home; 0: no limit")
    _command(users, "list", "list users", _list_users)
    _command(users, "rm", "remove a user and all its tokens", _remove_user, "name")
    _command(users, "passwd", "set a password", _set_password, "name")

    _command(keys, "add", "let a user log in with a key; reads its public half from standard input", _add_key, "name")
    _command(keys, "list", "list the keys of a user", _list_keys, "name")
    remove = _command(keys, "rm", "make a key invalid at once", _remove_key, "name")
    remove.add_argument("fingerprint", metavar="SHA256:…", help="as ftpd user key list shows it")

    create = _command(tokens, "create", "make a token and print it, once", _create_token, "name")
    create.add_argument("--expires", type=_time, metavar="TIME", help="how long it is valid, as in 12h or 30d")
    create.add_argument("--rights", type=_rights, metavar="WORDS", help="only these of the user's rights")
    create.add_argument("--path", type=_path, default="", metavar="DIR", help="only below this folder")
    create.add_argument("--label", default="", metavar="TEXT", help="what it is for")
    _command(tokens, "list", "list tokens", _list_tokens)
    _command(tokens, "revoke", "make a token invalid at once", _revoke_token, "id")
    return parser


_HOME_HELP = "the folder that is the root for this user; made with the first upload if it is not there"
_RIGHTS_HELP = f"{', '.join(PRESETS)}, or some of list,read,write,overwrite,delete,admin (default: full)"


def _command(
    group: "argparse._SubParsersAction[Parser]",
    name: str,
    text: str,
    action: Callable[[argparse.Namespace, Path], None],
    argument: str | None = None,
) -> Parser:
    parser = group.add_parser(name, help=text, description=text, allow_abbrev=False)
    if argument is not None:
        parser.add_argument(argument, type=_name if argument == "name" else str, metavar=argument.upper())
    parser.add_argument("--root", type=Path, default=_default_root(), metavar="DIR", help="as for ftpd")
    parser.add_argument("--access", type=Path, default=_default_access(), metavar="DIR", help="as for ftpd")
    parser.set_defaults(action=action)
    return parser


def _default_root() -> Path:
    return Path(os.environ.get("FTPD_ROOT") or Config().root)


def _default_access() -> Path | None:
    access = os.environ.get("FTPD_ACCESS")
    return Path(access) if access else None


def _name(text: str) -> str:
    if USER_NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a user: a-z, 0-9, _ . and -, at most 32")
    return text


def _path(text: str) -> str:
    try:
        return str(RemotePath.parse_folder(text))
    except FtpdError as exc:
        raise argparse.ArgumentTypeError(exc.message) from exc


def _rights(text: str) -> list[str]:
    try:
        parse_rights(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text.replace(",", " ").split()


def _amount(text: str) -> str:
    try:
        return text if parse_amount(text) else ""
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _time(text: str) -> dt.timedelta:
    try:
        return dt.timedelta(seconds=parse_time(text))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
