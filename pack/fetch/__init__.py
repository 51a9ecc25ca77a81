"""Raw data from elsewhere: downloads that go on after any end, checked before they are named."""
