"""What was ordered: sources of orders, and the book that keeps them."""
