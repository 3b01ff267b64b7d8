"""The job API: what a notebook needs to become a streaming job. Importing the package imports none of it."""
