"""Others, and ours among them: how their servers are started, and what their clients are told."""
