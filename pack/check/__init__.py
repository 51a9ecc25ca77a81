"""Is it what it should be: pixels and conventions of samples, and every byte of a finished set."""
