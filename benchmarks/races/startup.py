"""How fast the commands start, beside what Python itself takes."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers.base import Verb
from benchmarks.peers.ours import Ftpd
from benchmarks.processes import seconds
from benchmarks.race import Bar, Plan, Race, Way
from benchmarks.results import Better


def _plan(ground: Ground) -> Plan:
    ours = Ftpd()
    ours.start(ground.stack, ground.folder, Verb.GET)
    for name in ("a", "b", "c"):
        (ours.root / name).touch()
    python, script = [sys.executable, "-c"], Path(sys.executable).with_name("ftpc")
    ftpc = [str(script)] if script.exists() else [sys.executable, "-m", "ftpc"]
    commands: dict[str, Sequence[str]] = {
        "python -c 'pass'": [*python, "pass"],
        "ftpc --version": [*ftpc, "--version"],
        "python -c 'import asyncio'": [*python, "import asyncio"],
        "ftpc ls": [*ftpc, "--server", ours.address, "ls"],
    }
    ways = [Way(label, partial(_ms, command), is_ours="ftpc" in label) for label, command in commands.items()]
    bars = [
        Bar("ftpc --version", "python -c 'pass'", 3.0),
        Bar("ftpc ls", "python -c 'import asyncio'", 1.6),
    ]
    return Plan("Starting", "ms", Better.LESS, ways, bars)


def _ms(command: Sequence[str]) -> float:
    return 1000 * seconds(command)


RACES = (Race("startup", "how fast the commands start", _plan, times=5),)
