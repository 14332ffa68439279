"""Commands that run or call nodes."""
