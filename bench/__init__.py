"""Claims to evidence: the product measured against its floor and its peers, always by its own path."""
