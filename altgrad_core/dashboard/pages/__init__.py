"""One file for each kind of page: what it has, and how it is brought up to date."""
