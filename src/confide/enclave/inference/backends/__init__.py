"""The engines: one module per kind, loaded only when the settings name it."""
