"""Check a running system's queue over REST: python test_queue_system.py [ADDRESS]."""

from tests.test_queue_system import main

if __name__ == "__main__":
    main()
