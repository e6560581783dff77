"""How fast is it, how fast could it be: our path beside a reference-like one (`python -m benchmarks`)."""
