"""Measurements that the README quotes; each module runs as ``python -m benchmarks.NAME``."""
