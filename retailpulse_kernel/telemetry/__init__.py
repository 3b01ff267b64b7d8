"""What a process measures of itself: definitions, values, and the file that it leaves for the monitor."""
