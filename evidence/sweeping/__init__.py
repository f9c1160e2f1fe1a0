"""What the sweeps compare, by what they ask about."""
