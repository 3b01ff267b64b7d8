"""What everything stands on: errors, settings, credentials, names, times, and how calls are tried again."""
