"""Public laws and strategies for the tests of plugin authors."""
