"""`david bench campaign`: everything that a new machine should be asked, in parts, each in a process of its own."""
