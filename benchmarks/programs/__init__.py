"""Programs that races run, as processes of their own."""
