"""Callbacks for training libraries, one module each. A module imports its library; nothing else does."""
