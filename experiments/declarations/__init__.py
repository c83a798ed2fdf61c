"""What merchants write, read into validated declarations."""
