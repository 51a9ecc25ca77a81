"""What a network is trained to do: a task compares what it says with what a batch has. `table.py` names them."""
