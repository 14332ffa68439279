"""Class table, vocabulary, and cleaning and spreading of labels."""
