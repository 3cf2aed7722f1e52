"""Senseair CO2 sensors over Modbus RTU."""
