"""Studies that need no cluster: the method in one process on clips held in memory."""
