"""What tests need and what is no test: servers, clients and peers that speak the real protocols."""
