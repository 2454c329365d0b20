"""The directory of a run as it is read afterwards: whole or damaged, by every command that reads one."""
