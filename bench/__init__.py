"""What the pipeline costs and gives on this machine, beside what a user would write instead: `make bench`."""
