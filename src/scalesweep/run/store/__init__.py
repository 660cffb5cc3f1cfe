"""The sweep's directory. `store.py` has the protocol."""
