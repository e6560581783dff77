"""Faults: long commands are killed, interrupted, starved of disk; stored files are cut and bits of them flipped."""
