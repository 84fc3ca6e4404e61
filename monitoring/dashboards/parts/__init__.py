"""The overview's parts, in the order in which they stand: each has `add_to(dashboard)`."""
