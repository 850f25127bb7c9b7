"""Games that a small model cannot keep: what the child said, what the model must say, and what it said wrongly."""
