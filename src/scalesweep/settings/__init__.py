"""What may be asked for: every setting as a frozen, validated value."""
