"""How any model behaves as inputs leave what it knows."""
