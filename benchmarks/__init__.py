"""Speed, as rates and ratios measured on the machine at hand: `make bench`, or `python -m benchmarks NAME …`."""
