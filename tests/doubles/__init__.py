"""Stand-ins for what a test cannot have: engines, servers, model files."""
