"""All races, in the order in which they are run and shown."""

from benchmarks.races import load, startup, transfers

RACES = (*transfers.RACES, *load.RACES, *startup.RACES)
