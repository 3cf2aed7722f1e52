"""The portal: pages, REST and live data for browsers."""
