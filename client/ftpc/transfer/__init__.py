"""The transfer engine: how one file goes up or comes down over one connection."""
