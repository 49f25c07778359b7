"""What every process does: it hears signals, serves, reports, waits and ends."""
