"""What people import and type: the script's SDK, the Lab client and the command line."""
