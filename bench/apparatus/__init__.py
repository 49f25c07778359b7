"""What stands round a cluster of a bench so that network, clock and store can fail: a proxy
between any two processes (toxiproxy), clocks of their own (libfaketime), and an S3 (moto)."""
