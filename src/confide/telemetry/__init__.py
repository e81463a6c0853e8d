"""What confide says about itself: logs and metrics that cannot carry content.

Logs (`confide.telemetry.logs`) accept a closed list of field names; metrics
(`confide.telemetry.metrics`) accept closed lists of label values. Neither can hold a
prompt, an answer, a key or a user's own words, because there is no field for them.
"""

__all__: list[str] = []
