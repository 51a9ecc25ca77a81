"""One head a task, a file each; `table.py` has a row for each of them."""
