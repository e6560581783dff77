"""Every reader of the workbench under random bytes: `python -m tests.fuzz READER --runs N`."""
