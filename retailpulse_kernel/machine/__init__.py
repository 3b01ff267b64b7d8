"""The machine that the servers run on: their artifacts, Java, native libraries, and their processes."""
