"""The job API: what a notebook needs to become a streaming job."""

from retailpulse_kernel.streaming.job import Events, FigureStream, Job

__all__ = ["Events", "FigureStream", "Job"]
