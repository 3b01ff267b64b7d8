"""How the messages of a topic are written: what opens them, so that everything behind reads JSON of the contract."""
