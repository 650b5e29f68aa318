"""`rlgen bench`: what training costs on this machine, with rlgen and with other libraries."""
