"""Spending: an id counts once, whichever worker sees it first."""
