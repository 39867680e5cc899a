"""The page as people use it: the real process, real servers and consumers, and a real browser."""
