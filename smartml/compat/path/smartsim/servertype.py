"""The values of `SR_DB_TYPE`."""

CLUSTERED = "Clustered"
STANDALONE = "Standalone"
