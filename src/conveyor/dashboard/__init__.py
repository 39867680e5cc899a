"""The live page: every queue, worker and job, and the means to stop any of them."""
