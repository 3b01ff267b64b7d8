"""A job as a notebook writes it, the plan that it means, and how it runs."""
