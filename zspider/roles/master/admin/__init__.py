"""What an operator says: the verbs, read and answered."""
