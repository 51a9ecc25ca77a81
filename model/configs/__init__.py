"""What each kind of network is made of, one file a kind. Without torch: a recipe is read before anything is loaded."""
