"""What every process tells of itself, who gathers it for Prometheus, and what is worth an alert."""
