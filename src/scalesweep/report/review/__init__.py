"""What a reviewer asks: the checklist with its answers, published values beside one's own, warnings explained."""
