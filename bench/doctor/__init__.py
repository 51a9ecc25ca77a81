"""`david doctor`: what this machine has, and whether it works: one file a subject, and a table of all checks."""
