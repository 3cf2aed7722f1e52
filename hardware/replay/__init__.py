"""A recorded run as a reactor: its sensors show again what they showed, gaps and all."""
