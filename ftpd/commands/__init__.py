"""The commands: one coroutine per verb, and the one table in which they are looked up."""
