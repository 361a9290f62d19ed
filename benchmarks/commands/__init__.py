"""The commands `bench` and `profile`, one file each; heavy imports happen inside the functions."""
