"""Networks that models train: the ready-made ones, how one of your own comes in, and their features."""
