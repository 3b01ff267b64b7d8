"""What a shop means: events, figures, the tables that hold them, and the plain fold that is their truth."""
