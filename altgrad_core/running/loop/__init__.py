"""The steps of a run: events, actions, saving, signals."""
