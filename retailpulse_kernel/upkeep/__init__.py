"""What the platform does for itself, from notebooks: close days, judge the stream's quality, let old data go."""
