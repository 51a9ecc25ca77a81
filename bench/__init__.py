"""Claims to evidence: david measured against its floor and its peers, always by its own path."""
