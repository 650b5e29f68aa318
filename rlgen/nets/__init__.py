"""Networks, and distributions over actions on top of them."""
