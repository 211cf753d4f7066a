"""The administration: an operator's verbs, read and answered."""
