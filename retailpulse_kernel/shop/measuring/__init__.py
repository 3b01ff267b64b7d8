"""What one event adds to a figure: expressions over its columns, what they give, and measures of them."""
