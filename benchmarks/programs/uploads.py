"""Upload files at the same time, through the library: `python uploads.py SERVER FILE...`."""

import asyncio
import sys
from pathlib import Path

import ftpc


async def main(server: str, files: list[str]) -> None:
    """Upload, each by a connection of its own."""
    async with ftpc.connect(server, connections=len(files)) as client, asyncio.TaskGroup() as group:
        for file in files:
            group.create_task(client.put(file, Path(file).name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
