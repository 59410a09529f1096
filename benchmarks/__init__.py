"""The project's benchmarks: ``python -m benchmarks`` from a checkout, and scripts that make single tables of docs/results.md."""
