"""Sets and clusters larger than any that is here, by computing what a rank of them would do."""
