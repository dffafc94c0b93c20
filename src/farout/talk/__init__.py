"""The talk reproduced: every figure and table, each by a function from a `Context` to a `Finding`."""
