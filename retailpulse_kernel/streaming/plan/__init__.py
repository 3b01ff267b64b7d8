"""What a job means, as data, and where the plans of a namespace are found."""
