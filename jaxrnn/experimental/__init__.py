"""What has not run where it is for."""
