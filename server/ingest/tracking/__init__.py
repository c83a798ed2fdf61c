"""What the clients of Segment and GA4 send, as interactions, orders and refunds."""
