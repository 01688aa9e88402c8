"""The handlers of the hello organism."""
