"""What several studies read off measured points: effects of laws over rival forms, tokens to a loss, multipliers."""
