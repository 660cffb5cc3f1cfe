"""What the points say beyond the laws themselves: allocation, forecasts, tuning, health, and all of it as one value."""
