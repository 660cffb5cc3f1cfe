"""The whole way, callable from Python: settings to measured points to a report."""
