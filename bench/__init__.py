"""What is measured, against whom. Not part of the service."""
