"""Tests in a real browser: a package, so that its fixtures end when its tests do."""
