"""The command line of the client: one file per verb, found here."""

import gc
import sys
from collections.abc import Sequence

from ftpc import __version__

VERBS = {
    "put": ("ftpc.cli.put", "upload files, or standard input"),
    "get": ("ftpc.cli.get", "download files, or to standard output"),
    "ls": ("ftpc.cli.ls", "list a folder"),
    "stat": ("ftpc.cli.stat", "tell what a name is"),
    "md5": ("ftpc.cli.md5", "print MD5 digests as md5sum does, or check a list of them"),
    "sum": ("ftpc.cli.sum", "print digests: md5, sha1, sha256 or blake3"),
    "jobs": ("ftpc.cli.unfinished", "list the transfers that were broken off"),
    "resume": ("ftpc.cli.resume", "go on with them"),
    "cancel": ("ftpc.cli.cancel", "forget one of them"),
    "df": ("ftpc.cli.df", "tell how much room there is, on the server and in your quota"),
    "ping": ("ftpc.cli.ping", "ask the server for a sign of life"),
    "login": ("ftpc.cli.login", "log in to a server, and remember how"),
    "logout": ("ftpc.cli.logout", "forget how"),
    "share": ("ftpc.cli.share", "let somebody else have or bring a file, for a while"),
    "whoami": ("ftpc.cli.whoami", "tell who is logged in, and what he may do"),
}
"""Where each verb is; only the one that is asked for is imported."""

ALIASES = {"upload": "put", "download": "get", "list": "ls", "dir": "ls"}

VALUED = {
    "--algo", "--as", "--ca", "--cert", "--cert-key", "--check", "--connect-timeout", "--count", "--expires",
    "--if-exists", "--jobs", "--key", "--label", "--output", "--progress", "--retries", "--server", "--stall-timeout",
    "--streams", "--to", "--user", "-c", "-j", "-o",
}  # fmt: skip
"""Options that have a value, of any verb: a verb is not looked for there."""

_HELP = """\
usage: ftpc VERB [OPTIONS] [ARGUMENTS]

examples:
  ftpc put big.mp4                       upload a file
  ftpc put *.csv --to data               upload several into a folder
  ftpc get a.txt                         download a file into this folder
  ftpc get data/x.csv -o -  | head       download to standard output
  ftpc ls -lh data                       list a folder
  ftpc md5 big.mp4                       the same line md5sum prints
  ftpc --server 10.0.0.7:9527 ls         another server; or set FTPC_SERVER

verbs:
{verbs}

`ftpc VERB --help` tells more. Exit status: 0 all done and verified, 2 usage, 3 not found, 4 local file, 5 network (try
again), 6 not allowed, 7 conflict, 8 damaged, 10 no space, 1 others or several kinds, 130 interrupted.
"""


def run() -> int:
    """Be the process: `main`, and nothing looked through for garbage at the end of it, which takes 10 ms."""
    # By default garbage is looked for with every 700 objects, a few dozen small files: some 5 % of the time of
    # `put -r`, for next to none is found. What goes in circles until then is a few megabytes at most.
    gc.set_threshold(20_000)
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in {"-V", "--version", "version"}:
        print(f"ftpc {__version__}")
        return 0
    place = _find_word(arguments)
    if place is None or arguments[place] not in {*VERBS, *ALIASES}:
        return _explain(arguments, place)
    verb = arguments.pop(place)

    from ftpc.cli.run import run_verb

    module, _ = VERBS[ALIASES.get(verb, verb)]
    return run_verb(module, ALIASES.get(verb, verb), arguments)


def _find_word(arguments: Sequence[str]) -> int | None:
    """Give the place of the first word that is no option, nor the value of one: the verb. Options may stand before it.

    There is none if help is asked for.
    """
    skip = False
    for place, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument in VALUED:
            skip = True
        elif not argument.startswith("-"):
            return place
        elif argument in {"-h", "--help"}:
            return None
    return None


def _explain(arguments: Sequence[str], place: int | None) -> int:
    verbs = "\n".join(f"  {name:6} {text}" for name, (_, text) in VERBS.items())
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(_HELP.format(verbs=verbs), end="")
        return 0
    print(
        f"ftpc: there is no verb {arguments[place or 0]!r}; use one of: {', '.join(VERBS)}; see ftpc --help",
        file=sys.stderr,
    )
    return 2
