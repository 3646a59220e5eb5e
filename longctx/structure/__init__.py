"""What files that are no prose hold, counted in one pass: logs, tables, mail, programs. Knows no models."""
