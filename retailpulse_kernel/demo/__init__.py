"""The demo: servers, events, jobs and live figures with one command."""
