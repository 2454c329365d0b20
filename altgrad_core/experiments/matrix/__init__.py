"""Which cells a study has, and what they will take."""
