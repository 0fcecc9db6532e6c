"""Reading a command line, of the server and of the client: what is wrong is said in one line."""

import argparse
import itertools
from collections.abc import Sequence
from typing import NoReturn

EXIT_USAGE = 2


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """End if there is no such option. By itself argparse may complain of something else that is missing."""
        for place, argument in enumerate(arguments):
            if argument == "--":
                return
            if (inner := self._inner(argument)) is not None:
                inner.refuse_unknown(arguments[place + 1 :])
                return
            if self._subparsers and not argument.startswith("-"):
                self.error(f"there is no {argument!r}; there are: {', '.join(self._words())}")
            if unknown := self._unknown(argument):
                near = self._near(unknown, argument)
                self.error(f"there is no option {unknown}" + (f", but {near}" if near else ""))

    def parse_mixed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line in which options may stand between names, up to `--`.

        What argparse has for that forgets what stood behind `--`.
        """
        options: list[str] = []
        names: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            if argument == "--":
                names += rest
            elif not self._is_option(argument):
                names.append(argument)
            else:
                options.append(argument)
                if self._wants_value(argument):
                    options += itertools.islice(rest, 1)
        return self.parse_args([*options, "--", *names] if names else options)

    def error(self, message: str) -> NoReturn:
        """Print the line and end."""
        if message.startswith(unknown := "unrecognized arguments: "):  # of options that has been said before
            message = f"{message.removeprefix(unknown)}: more names than it takes"
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _inner(self, argument: str) -> "Parser | None":
        """Give the parser of all that stands behind a word, if it is such a word."""
        return self._words().get(argument)

    def _words(self) -> "dict[str, Parser]":
        commands = self._subparsers._group_actions[0].choices if self._subparsers else None  # noqa: SLF001 (argparse has no public way to ask)
        return commands if isinstance(commands, dict) else {}

    def _unknown(self, argument: str) -> str:
        """Give the option in an argument that there is not; "" if there is nothing wrong with it."""
        known, name = self._option_string_actions, argument.partition("=")[0]
        if name.startswith("--"):
            return "" if name in known else name
        if not self._is_option(argument):
            return ""
        for letter in argument[1:]:
            if (action := known.get(f"-{letter}")) is None:
                return f"-{letter}"
            if action.nargs != 0:  # the rest is its value
                return ""
        return ""

    def _is_option(self, argument: str) -> bool:
        """Tell whether something is an option; argparse takes what has a space in it for a name, or a value."""
        if argument == "-" or self._negative_number_matcher.match(argument):
            return False
        return argument.startswith("--") or (argument.startswith("-") and " " not in argument)

    def _wants_value(self, argument: str) -> bool:
        """Tell whether the value of an option, which there is, is the next argument."""
        known = self._option_string_actions
        if argument.startswith("--"):
            return argument in known and known[argument].nargs != 0
        for place, letter in enumerate(argument[1:], start=2):
            if known[f"-{letter}"].nargs != 0:
                return place == len(argument)  # else the rest of the argument is its value
        return False

    def _near(self, unknown: str, argument: str) -> str:
        """Give an option that may have been meant, if there is one."""
        known = self._option_string_actions
        if unknown.swapcase() in known:
            return unknown.swapcase()
        word = argument.partition("=")[0].lstrip("-").lower()
        if len(word) == 1:
            return ""
        import difflib  # noqa: PLC0415 (every start would pay for it)

        words = [option[2:] for option in known if option.startswith("--")]
        begun = [known_word for known_word in words if known_word.startswith(word)]
        near = begun or difflib.get_close_matches(word, words, 1, 0.75)
        return f"--{near[0]}" if len(near) == 1 else ""
