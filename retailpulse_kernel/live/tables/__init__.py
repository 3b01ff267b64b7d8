"""Live views of any table: what is read, how the rows and charts look, and the widget that shows them."""
