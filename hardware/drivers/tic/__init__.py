"""Pololu Tic stepper motor controllers that drive pumps."""
