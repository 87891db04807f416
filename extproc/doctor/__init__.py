"""Asks a running pair how it is, from outside, as its clients see it."""
