"""From a notebook to a supervised production job. Importing the package imports none of it."""
