"""What a training would take on machines that are not here."""
