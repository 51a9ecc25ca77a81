"""The work of packing: a plan, workers that follow it, a record to go on from, and what a person sees meanwhile."""
